"""What operators can list: for each noun its rows, its columns, and how these are filtered.

The SQL of sources and columns is written here; whatever an operator types is either the name of
a column that is declared here or a parameter of the statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cyclades_tx.errors import BadRequest

TEXT = "text"
NUMBER = "number"
TRUTH = "truth"
TIME = "time"

#: How each kind is compared in SQL.
_CASTS = {TEXT: "text", NUMBER: "numeric", TRUTH: "boolean", TIME: "timestamptz"}
_OPERATORS = {
    "!=": "is distinct from", ">=": ">=", "=>": ">=", "<=": "<=", "=<": "<=", ">": ">",
    "<": "<", "=": "=",
}  # fmt: skip
_TERM = re.compile(r"\s*([A-Za-z0-9_.]+)\s*(!=|>=|=>|<=|=<|>|<|=)(.*)", re.DOTALL)
#: A comma ends a term only where another one begins, so that values may have commas.
_BETWEEN = re.compile(r",(?=\s*[A-Za-z0-9_.]+\s*(?:!=|>=|=>|<=|=<|>|<|=))")
_TRUE = frozenset(("true", "yes", "y", "t", "on", "1"))
_FALSE = frozenset(("false", "no", "n", "f", "off", "0"))
_DIGITS = 18


@dataclass(frozen=True)
class Column:
    """One column of a list.

    :ivar sql: the expression of what is shown.
    :ivar shown: whether it is shown when no columns are named.
    :ivar also: further text expressions that ``=`` and ``!=`` look at: an id beside a name.
    """

    name: str
    sql: str
    kind: str = TEXT
    shown: bool = True
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listing:
    """One list.

    :ivar source: what stands after ``from``.
    :ivar order: the expression that orders the rows.
    :ivar live: the condition of the rows that are listed unless deleted ones are asked for.
    :ivar deleted: the condition of the deleted ones; "": nothing is kept of them.
    """

    source: str
    columns: tuple[Column, ...]
    order: str
    live: str = "true"
    deleted: str = ""

    def pick(self, names: str | None) -> tuple[Column, ...]:
        """The columns of a comma-separated list of names; None: those that are shown anyway.

        :raise BadRequest: names the first that there is not.
        """
        if names is None:
            return tuple(column for column in self.columns if column.shown)
        return tuple(self.column(name.strip()) for name in names.split(","))

    def column(self, name: str) -> Column:
        """The column of a name.

        :raise BadRequest: when there is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        known = ", ".join(column.name for column in self.columns)
        raise BadRequest(f"There is no field {_cut(name)!r}; there are: {known}.")


@dataclass(frozen=True)
class Term:
    """One condition: a column, one of :data:`_OPERATORS`, and what to compare with."""

    column: Column
    operator: str
    value: Any

    def sql(self) -> tuple[str, list[Any]]:
        """The condition with its arguments."""
        cast = _CASTS[self.column.kind]
        word = _OPERATORS[self.operator]
        if self.column.also and self.operator in ("=", "!="):
            texts = (f"({self.column.sql})::text", *self.column.also)
            some = " or ".join(f"coalesce({text} = %s::text, false)" for text in texts)
            condition = f"not ({some})" if self.operator == "!=" else f"({some})"
            return condition, [self.value] * len(texts)
        return f"({self.column.sql})::{cast} {word} %s::{cast}", [self.value]


def terms(listing: Listing, texts: Iterable[str]) -> tuple[Term, ...]:
    """Read filters as operators write them: ``name=web,id>=5``.

    :raise BadRequest: when one cannot be understood; says why.
    """
    found = []
    for text in texts:
        for piece in _BETWEEN.split(text):
            match = _TERM.fullmatch(piece)
            if match is None:
                raise BadRequest(
                    f"The filter {_cut(piece)!r} is not FIELD OPERATOR VALUE;"
                    f" operators: {' '.join(_OPERATORS)}"
                )
            column = listing.column(match[1])
            found.append(Term(column, match[2], _value(column, match[3].strip())))
    return tuple(found)


async def rows(
    querier: Any,
    listing: Listing,
    columns: Sequence[Column],
    conditions: Iterable[Term] = (),
    deleted: bool = False,
) -> list[tuple[Any, ...]]:
    """Read a list.

    :param deleted: the deleted ones in place of the live ones.
    :return: for each row the values of the columns.
    """
    if deleted and not listing.deleted:
        raise BadRequest("Nothing is kept of what was deleted here.")
    where = [listing.deleted if deleted else listing.live]
    arguments: list[Any] = []
    for condition in conditions:
        text, values = condition.sql()
        where.append(text)
        arguments += values
    # Names of columns may have dots and repeat: rows are told apart by position only.
    fields = ", ".join(f"{column.sql} as c{index}" for index, column in enumerate(columns))
    sql = (
        f"select {fields} from {listing.source} where {' and '.join(where)}"
        f" order by {listing.order}"
    )
    return [tuple(row) for row in await querier.all(sql, arguments)]


async def one(
    querier: Any, listing: Listing, ref: Any, columns: Sequence[Column] | None = None
) -> dict[str, Any] | None:
    """One row of a list by its ``id``, live or deleted, as a mapping of names; None: gone.

    :param columns: None: all.
    """
    wanted = listing.columns if columns is None else columns
    only = Term(listing.column("id"), "=", ref)
    for deleted in (False, True) if listing.deleted else (False,):
        found = await rows(querier, listing, wanted, [only], deleted)
        if found:
            return dict(zip((column.name for column in wanted), found[0], strict=True))
    return None


def _value(column: Column, text: str) -> Any:
    if "\0" in text:
        raise BadRequest(f"The value for {column.name} holds a NUL character.")
    if column.kind == TEXT or column.also:
        return text
    if column.kind == NUMBER:
        try:
            number = int(text) if text.isascii() and "_" not in text else None
        except ValueError:
            number = None
        if number is None or abs(number) >= 10**_DIGITS:
            raise BadRequest(f"{column.name} is a number; {_cut(text)!r} is none that it can be.")
        return number
    if column.kind == TRUTH:
        word = text.lower()
        if word not in _TRUE | _FALSE:
            raise BadRequest(f"{column.name} is True or False, not {_cut(text)!r}.")
        return word in _TRUE
    return moment_from(column.name, text)


def moment_from(name: str, text: str) -> datetime:
    """A time as an operator writes it; without a zone it is UTC.

    :param name: what it is, for the complaint.
    :raise BadRequest: when it is none.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadRequest(
            f"{name} is a time such as 2024-05-31T12:00, not {_cut(text)!r}."
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _cut(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
