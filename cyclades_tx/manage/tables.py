"""What commands print: tables, one thing with its members, CSV and JSON."""

from __future__ import annotations

import csv
import io
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import click
import orjson

PRETTY = "pretty"
CSV = "csv"
JSON = "json"
FORMATS = (PRETTY, JSON, CSV)

#: Escape sequences, line ends and whatever else a name could do to a terminal.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def table(
    names: Sequence[str], rows: Iterable[Sequence[Any]], form: str, headers: bool = True
) -> str:
    """A list in one of the formats, with a newline at its end unless it is empty.

    What is wider than the terminal that it is written to has a line for each field.

    :param headers: whether a line with the names comes first (JSON always names).
    """
    if form == JSON:
        return _json([dict(zip(names, map(plain, row), strict=True)) for row in rows])
    texts = [[text(value) for value in row] for row in rows]
    if form == CSV:
        return _csv(names, texts, headers)
    written = _aligned(names, texts, headers)
    return _tall(names, texts) if headers and texts and _too_wide(written) else written


def record(members: Mapping[str, Any], form: str) -> str:
    """One thing in one of the formats; a member that is a list of mappings is a table below it."""
    if form == JSON:
        return _json(plain(members))
    simple = {name: value for name, value in members.items() if not _is_rows(value)}
    if form == CSV:
        return _csv(list(simple), [[text(value) for value in simple.values()]], True)
    written = _lines(list(simple), [text(value) for value in simple.values()])
    for name, value in members.items():
        if not _is_rows(value):
            continue
        written += f"\n{name}\n"
        if value:
            names = list(value[0])
            written += _aligned(names, [[text(row[each]) for each in names] for row in value], True)
        else:
            written += "  none\n"
    return written


def show(written: str) -> None:
    """Print what one of the others made."""
    click.echo(written, nl=False)


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {str(name): plain(member) for name, member in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(member) for member in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def text(value: Any) -> str:
    """A value as people read it: in one line, without anything that a terminal would obey."""
    value = plain(value)
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        value = ",".join(f"{name}={text(member)}" for name, member in value.items())
    elif isinstance(value, list):
        value = ",".join(text(member) for member in value)
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", str(value))


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(member, Mapping) for member in value)


def _lines(names: Sequence[str], texts: Sequence[str]) -> str:
    """One thing, a line for each member."""
    width = max(map(len, names), default=0)
    return "".join(
        f"{name:<{width}} : {value}".rstrip() + "\n"
        for name, value in zip(names, texts, strict=True)
    )


def _tall(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A list with an empty line between two things."""
    return "\n".join(_lines(names, row) for row in rows)


def _too_wide(written: str) -> bool:
    """Whether a terminal would break the lines; what is read by another program stays a table."""
    if not sys.stdout.isatty():
        return False
    return max(map(len, written.splitlines())) > shutil.get_terminal_size().columns


def _aligned(names: Sequence[str], rows: Sequence[Sequence[str]], headers: bool) -> str:
    lines = [list(names)] if headers else []
    lines += [list(row) for row in rows]
    if not lines:
        return ""
    widths = [max(len(line[index]) for line in lines) for index in range(len(names))]
    numeric = [
        bool(rows) and all(re.fullmatch(r"-?[0-9]+|-", row[index]) for row in rows)
        for index in range(len(names))
    ]
    if headers:
        lines.insert(1, ["-" * width for width in widths])
    written = ""
    for line in lines:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ]
        written += "  ".join(cells).rstrip() + "\n"
    return written


def _csv(names: Sequence[str], rows: Iterable[Sequence[str]], headers: bool) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if headers:
        writer.writerow(names)
    writer.writerows(rows)
    return out.getvalue()


def _json(value: Any) -> str:
    # Text that is not Unicode can only come from an argument, and those were checked.
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()
