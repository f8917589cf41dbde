"""Checks a document against a JSON schema: the part of JSON schema that our documents use."""

from __future__ import annotations

import re
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}


def faults(document: Any, schema: dict[str, Any], place: str = "$") -> list[str]:
    """What is wrong with a document, each with its place; nothing when it fits."""
    if "anyOf" in schema:
        if any(not faults(document, each, place) for each in schema["anyOf"]):
            return []
        return [f"{place}: {document!r} fits none of the alternatives"]
    if "enum" in schema:
        return [] if document in schema["enum"] else [f"{place}: {document!r} is not allowed"]
    names = schema.get("type")
    if names is None:
        return [f"{place}: the schema says nothing"]
    kinds = [names] if isinstance(names, str) else names
    if not any(_is(document, kind) for kind in kinds):
        return [f"{place}: {document!r} is not of type {names}"]
    found: list[str] = []
    if isinstance(document, str) and "pattern" in schema:
        if re.search(schema["pattern"], document) is None:
            found.append(f"{place}: {document!r} does not match {schema['pattern']}")
    elif isinstance(document, list) and "items" in schema:
        for at, item in enumerate(document):
            found += faults(item, schema["items"], f"{place}[{at}]")
    elif isinstance(document, dict):
        found += _object_faults(document, schema, place)
    return found


def _object_faults(document: dict[str, Any], schema: dict[str, Any], place: str) -> list[str]:
    properties = schema.get("properties", {})
    further = schema.get("additionalProperties", True)
    found = [
        f"{place}: {name} is missing" for name in schema.get("required", ()) if name not in document
    ]
    for name, value in document.items():
        if name in properties:
            found += faults(value, properties[name], f"{place}.{name}")
        elif further is False:
            found.append(f"{place}: {name} is one too many")
        elif isinstance(further, dict):
            found += faults(value, further, f"{place}.{name}")
    return found


def _is(document: Any, kind: str) -> bool:
    if isinstance(document, bool):
        return kind == "boolean"
    return isinstance(document, _TYPES[kind])
