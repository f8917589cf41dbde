"""What bodies hold, checked: names, sizes, metadata, truth values."""

from __future__ import annotations

import re

from cyclades_tx.api.compute.filters import FALSE, TRUE
from cyclades_tx.errors import BadRequest
from cyclades_tx.flows.volumes import MOST_GIB
from cyclades_tx.model.server import MAX_METADATA

_SIZE = re.compile(r"0{0,9}[1-9][0-9]{0,9}", re.ASCII)
_LONGEST = 255


def text_of(what: str, text: str | None) -> str | None:
    """A text that is not too long, or BadRequest."""
    if text is not None and len(text) > _LONGEST:
        raise BadRequest(
            f"Invalid input for field/attribute {what}: it has at most {_LONGEST} characters."
        )
    return text


def size_of(what: str, size: int | str) -> int:
    """A size in GiB, which may be written as text, or BadRequest."""
    text = str(size)
    if isinstance(size, bool) or _SIZE.fullmatch(text) is None or int(text) > MOST_GIB:
        raise BadRequest(
            f"Invalid input for field/attribute {what}. Value: {text[:40]!r}. A size is a whole"
            f" number of GiB from 1 to {MOST_GIB}."
        )
    return int(text)


def metadata_of(items: dict[str, str]) -> dict[str, str]:
    """Metadata within its limits, or BadRequest."""
    if len(items) > MAX_METADATA:
        raise BadRequest(f"A volume may have at most {MAX_METADATA} metadata items.")
    for key, value in items.items():
        if not 1 <= len(key) <= _LONGEST or len(value) > _LONGEST:
            raise BadRequest("Invalid metadata: keys have 1 to 255 characters, values at most 255.")
    return items


def truth(what: str, value: bool | str) -> bool:
    """A truth value, which may be written as text, or BadRequest."""
    if isinstance(value, bool):
        return value
    word = value.strip().lower()
    if word not in TRUE and word not in FALSE:
        raise BadRequest(f"Invalid input for field/attribute {what}: true or false is meant.")
    return word in TRUE
