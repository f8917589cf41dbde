"""Failures that a test expects."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

E = TypeVar("E", bound=Exception)


async def raised(kind: type[E], call: Awaitable[Any]) -> E:
    """Return the exception of this kind that a call ends with."""
    try:
        result = await call
    except kind as failure:
        return failure
    raise AssertionError(f"{kind.__name__} was expected, the call returned {result!r}")
