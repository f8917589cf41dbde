"""What the tables allow, in words: for keys that do not exist, and for wrong values."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Any

from msgspec import inspect

from cyclades_tx.sections.values import PRINTABLE


def unknown_keys(raw: Any, kind: inspect.Type, key: str = "") -> Iterator[tuple[str, str]]:
    """Each key that no table has: (key, what is allowed)."""
    if isinstance(raw, list) and isinstance(kind, inspect.VarTupleType):
        for index, item in enumerate(raw):
            yield from unknown_keys(item, kind.item_type, f"{key}[{index}]")
    if not (isinstance(raw, dict) and isinstance(kind, inspect.StructType)):
        return
    known = {field.encode_name: field.type for field in kind.fields}
    for name, value in raw.items():
        place = f"{key}.{name}".lstrip(".")
        if name in known:
            yield from unknown_keys(value, _plain(known[name]), place)
        else:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            yield place, f"no such key{hint}; allowed: {', '.join(known)}"


def explain(message: str, kind: inspect.Type) -> str:
    """msgspec's message about a wrong value, turned into the key and what is allowed there.

    :param kind: of the whole file.
    """
    complaint, _, path = message.partition(" - at `$")
    for name, _index in re.findall(r"\.(\w+)|(\[[^\]]*\])", path):
        kind = _plain(_inside(kind, name))
    key = path.rstrip("`").lstrip(".")
    return f"{key}: must be {_allowed(kind)}; {complaint[0].lower()}{complaint[1:]}"


def _plain(kind: inspect.Type) -> inspect.Type:
    return kind.type if isinstance(kind, inspect.Metadata) else kind


def _inside(kind: inspect.Type, name: str) -> inspect.Type:
    """The type of the member or element ``name`` of a value of the type ``kind``."""
    if isinstance(kind, inspect.StructType):
        return next(field.type for field in kind.fields if field.encode_name == name)
    if isinstance(kind, inspect.VarTupleType):
        return kind.item_type
    return kind.value_type if isinstance(kind, inspect.DictType) else kind


def _allowed(kind: inspect.Type) -> str:
    """A type in words."""
    match kind:
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return f"a whole number{_range(kind)}"
        case inspect.FloatType():
            return f"a number{_range(kind)}"
        case inspect.StrType(pattern=str()) if kind.pattern != PRINTABLE:
            return f"text that matches {kind.pattern}"
        case inspect.StrType():
            most = "" if kind.max_length is None else f" of at most {kind.max_length} characters"
            return "printable text" + most
        case inspect.LiteralType():
            return "one of " + ", ".join(f'"{value}"' for value in kind.values)
        case inspect.VarTupleType():
            least = " (at least one)" if kind.min_length else ""
            return f"a list{least}, each {_allowed(kind.item_type)}"
        case inspect.UnionType():
            return " or ".join(_allowed(one) for one in kind.types)
        case _:
            return "a table"


def _range(kind: inspect.IntType | inspect.FloatType) -> str:
    return "" if kind.ge is None else f" from {kind.ge:.10g} to {kind.le:.10g}"
