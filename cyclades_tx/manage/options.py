"""Options and arguments that several commands have."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, TypeVar

import click

from cyclades_tx.errors import BadRequest, NotFound
from cyclades_tx.manage import tables
from cyclades_tx.manage.runner import Settings
from cyclades_tx.store import listings, operator_names
from cyclades_tx.store.listings import Listing
from cyclades_tx.world import World

F = TypeVar("F", bound=Callable[..., Any])

#: Makes the conditions of a list from an option's value.
Terms = Callable[[Any], Iterable[listings.Term]]

MOST_ID = 2**63 - 1
_SIZES = {"": None, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


class Truth(click.ParamType[bool]):
    """``True`` or ``False``, also yes, y, t, on, 1 and their opposites."""

    name = "True|False"

    def convert(self, value: Any, param: Any, ctx: Any) -> bool:
        """Read it."""
        if isinstance(value, bool):
            return value
        word = str(value).strip().lower()
        if word in ("true", "yes", "y", "t", "on", "1"):
            return True
        if word in ("false", "no", "n", "f", "off", "0"):
            return False
        self.fail(f"{value!r} is neither True nor False.", param, ctx)


class Word(click.ParamType[str]):
    """Text that PostgreSQL can be told: Unicode without NUL."""

    name = "text"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """Read it."""
        text = str(value)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.fail("this is not UTF-8.", param, ctx)
        if "\0" in text:
            self.fail("this holds a NUL character.", param, ctx)
        return text


class Moment(click.ParamType[datetime]):
    """A time; without a zone it is UTC."""

    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> datetime:
        """Read it."""
        if isinstance(value, datetime):
            return value
        try:
            return listings.moment_from("this", str(value))
        except BadRequest as error:
            self.fail(error.message, param, ctx)


class Pairs(click.ParamType[dict[str, str]]):
    """``key=value,key=value``."""

    name = "key=value,…"

    def convert(self, value: Any, param: Any, ctx: Any) -> dict[str, str]:
        """Read it."""
        if isinstance(value, dict):
            return value
        found = {}
        for piece in WORD.convert(value, param, ctx).split(","):
            key, equals, member = piece.partition("=")
            if not equals or not key.strip():
                self.fail(f"{piece!r} is not key=value.", param, ctx)
            found[key.strip()] = member.strip()
        return found


class Numbers(click.ParamType[tuple[int, ...]]):
    """Whole numbers with commas between."""

    name = "n,n,…"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        """Read it."""
        if isinstance(value, tuple):
            return value
        found = []
        for piece in str(value).split(","):
            text = piece.strip()
            if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
                self.fail(f"{piece!r} is not a whole number.", param, ctx)
            found.append(int(text))
        return tuple(dict.fromkeys(found))


class Id(click.ParamType[int]):
    """The number of a thing."""

    name = "number"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        """Read it."""
        text = str(value).strip()
        if not re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) or not 1 <= int(text) <= MOST_ID:
            self.fail(f"{value!r} is not the number of one.", param, ctx)
        return int(text)


TRUTH = Truth()
WORD = Word()
PAIRS = Pairs()
MOMENT = Moment()
NUMBERS = Numbers()
ID = Id()
PORT = click.IntRange(1, 65535)


def words(text: str | None) -> tuple[str, ...]:
    """The parts of text with commas between, without empty ones."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def output_format(function: F) -> F:
    """Add ``--output-format``."""
    return click.option(
        "--output-format",
        "form",
        type=click.Choice(tables.FORMATS),
        default=tables.PRETTY,
        show_default=True,
        help="How the result is written.",
    )(function)


def wait_option(default: bool) -> Callable[[F], F]:
    """Add ``--wait``."""
    return click.option(
        "--wait",
        type=TRUTH,
        default=default,
        show_default=True,
        help="Return only when the operation has ended, with its result.",
    )


def quantity(text: str, unit_bytes: int) -> int | None:
    """A limit as an operator writes it: a number in the resource's own unit, or with its own.

    :param unit_bytes: what a number without a unit stands for; 1 for what is only counted.
    :return: in bytes or pieces; None: no limit.
    :raise BadRequest: when it cannot be understood.
    """
    if text.lower() in ("unlimited", "none", "-"):
        return None
    match = re.fullmatch(r"([0-9]{1,15})\s*([KMGT]iB|B|)", text.strip(), re.ASCII)
    if match is None or (match[2] and unit_bytes == 1):
        units = " (MiB, GiB or TiB may follow)" if unit_bytes > 1 else ""
        raise BadRequest(f"A limit is a whole number{units} or 'unlimited', not {text[:80]!r}.")
    found = int(match[1]) * (_SIZES[match[2]] or unit_bytes)
    if found > MOST_ID:
        raise BadRequest(f"{text[:80]!r} is more than can be counted.")
    return found


def list_command(
    group: click.Group,
    name: str,
    listing: Listing,
    help_text: str,
    options: tuple[tuple[click.Option, str | Terms, Any], ...] = (),
) -> click.Command:
    """Add a command that lists.

    :param options: for each further option itself, the column that it filters by, and what is
        compared: None for the option's own value. In place of the column can stand what makes
        the conditions of that value.
    """

    @click.pass_obj
    def callback(
        settings: Settings,
        /,
        form: str,
        output: str | None,
        list_fields: bool,
        filter_by: tuple[str, ...],
        no_headers: bool,
        deleted: bool = False,
        **given: Any,
    ) -> None:
        if list_fields:
            fields = [(column.name, column.kind, column.shown) for column in listing.columns]
            tables.show(tables.table(("field", "kind", "shown"), fields, form, not no_headers))
            return
        columns = listing.pick(output)
        conditions = list(listings.terms(listing, filter_by))
        narrowed: list[tuple[str, str]] = []
        for option, column, value in options:
            wanted = given.get(str(option.name))
            if wanted is None or wanted is False:
                continue
            compared = wanted if value is None else value
            if callable(column):
                conditions += column(compared)
            else:
                conditions.append(listings.Term(listing.column(column), "=", compared))
                if isinstance(compared, str):
                    narrowed.append((column, compared))

        async def work(world: World) -> list[tuple[Any, ...]]:
            rows = await listings.rows(world.database, listing, columns, conditions, deleted)
            for name, ref in () if rows else narrowed:
                # A slip of the hand is not to look like somebody who has nothing.
                if await operator_names.unknown(world.database, name, ref):
                    raise NotFound(f"There is no {name} {ref[:80]!r}; see {name}-list.", name)
            return rows

        found = settings.run(work)
        names = [column.name for column in columns]
        tables.show(tables.table(names, found, form, not no_headers))

    parameters: list[click.Parameter] = [
        click.Option(
            ["--output-format", "form"],
            type=click.Choice(tables.FORMATS),
            default=tables.PRETTY,
            show_default=True,
            help="How the list is written.",
        ),
        click.Option(["-o", "--output"], type=WORD, metavar="FIELDS",
                     help="Fields to show, with commas between."),
        click.Option(["--list-fields"], is_flag=True, help="Show the fields there are."),
        click.Option(
            ["--filter-by"],
            type=WORD,
            multiple=True,
            metavar="FILTERS",
            help="Conditions such as 'name=web,id>=5' with = != > >= < <=; all must hold.",
        ),
        click.Option(["--no-headers"], is_flag=True, help="Leave the line of names out."),
        *(option for option, _, _ in options),
    ]  # fmt: skip
    if listing.deleted and listing.deleted != "true":
        parameters.append(
            click.Option(["-d", "--deleted"], is_flag=True, help="List the deleted ones only.")
        )
    elif listing.deleted:
        parameters.append(
            click.Option(["--all", "deleted"], is_flag=True, help="List those that ended, too.")
        )
    command = click.Command(name, callback=callback, params=parameters, help=help_text)
    group.add_command(command)
    return command
