"""A strict look at JSON: exactly the properties of a schema, and values of its types."""

from __future__ import annotations

import re
from typing import Any

_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
    "null": type(None),
}


def misfits(value: Any, schema: dict[str, Any], place: str = "$") -> list[str]:
    """What in a value does not fit a JSON schema, as sentences; empty when all fits.

    Knows the words that our documents use: type, enum, pattern, properties, required,
    additionalProperties, items, maxItems, maxLength, oneOf, anyOf.
    """
    if "anyOf" in schema:
        tries = [misfits(value, each, place) for each in schema["anyOf"]]
        return [] if [] in tries else [f"{place}: none of anyOf fits", *min(tries, key=len)]
    if "oneOf" in schema:
        fitting = [each for each in schema["oneOf"] if not misfits(value, each, place)]
        return [] if len(fitting) == 1 else [f"{place}: {len(fitting)} of oneOf fit"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{place}: {value!r} is none of {schema['enum']}"]
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is(value, kind) for kind in kinds):
        return [f"{place}: {value!r} is no {kinds}"]
    found: list[str] = []
    if isinstance(value, str):
        if "pattern" in schema and not re.search(schema["pattern"], value):
            found.append(f"{place}: {value!r} does not match {schema['pattern']}")
        if len(value) > schema.get("maxLength", len(value)):
            found.append(f"{place}: longer than {schema['maxLength']}")
    if isinstance(value, list):
        if len(value) > schema.get("maxItems", len(value)):
            found.append(f"{place}: more than {schema['maxItems']} items")
        for number, item in enumerate(value):
            found += misfits(item, schema.get("items", {}), f"{place}[{number}]")
    if isinstance(value, dict):
        found += _properties(value, schema, place)
    return found


def _is(value: Any, kind: str) -> bool:
    if kind in ("integer", "number") and isinstance(value, bool):
        return False
    return isinstance(value, _TYPES[kind])


def _properties(value: dict[str, Any], schema: dict[str, Any], place: str) -> list[str]:
    known = schema.get("properties", {})
    more = schema.get("additionalProperties", True)
    found = [
        f"{place}: {name} is missing" for name in schema.get("required", ()) if name not in value
    ]
    for name, each in value.items():
        if name in known:
            found += misfits(each, known[name], f"{place}.{name}")
        elif more is False:
            found.append(f"{place}: {name} is one too many")
        elif isinstance(more, dict):
            found += misfits(each, more, f"{place}.{name}")
    return found
