"""The kinds of values that several tables have, and what every table is."""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Meta, Struct

Count = Annotated[int, Meta(ge=0, le=1_000_000)]
Positive = Annotated[int, Meta(ge=1, le=1_000_000)]
Amount = Annotated[int, Meta(ge=0, le=2**40)]
Port = Annotated[int, Meta(ge=1, le=65_535)]
Seconds = Annotated[float, Meta(ge=0.05, le=31_536_000.0)]
Days = Annotated[float, Meta(ge=0.0, le=36_500.0)]
PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
Text = Annotated[str, Meta(max_length=4096, pattern=PRINTABLE)]


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


def quoted(text: str) -> str:
    """A value as Twisted's endpoint language wants it."""
    return re.sub(r"([\\:=])", r"\\\1", text)
