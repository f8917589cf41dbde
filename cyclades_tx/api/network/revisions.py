"""Conditional requests: ``If-Match: revision_number=N``."""

from __future__ import annotations

import re
from collections.abc import Awaitable
from typing import TypeVar

from cyclades_tx.api.call import Call
from cyclades_tx.api.errors import HttpError
from cyclades_tx.errors import BadRequest, Conflict

T = TypeVar("T")

_WRITTEN = re.compile(r"revision_number=([0-9]{1,9})", re.ASCII)
_FAILED = "RevisionNumberConstraintFailed"


def wanted_revision(call: Call) -> int | None:
    """The revision number that a thing must have; None: any.

    :raise BadRequest: when the header says something else.
    """
    text = call.header("if-match")
    if text is None:
        return None
    found = _WRITTEN.fullmatch(text.strip().strip('"'))
    if found is None:
        raise BadRequest("If-Match must be revision_number=N.", neutron_type="BadRequest")
    return int(found[1])


async def conditional(work: Awaitable[T]) -> T:
    """What a flow gives.

    :raise HttpError: 412 in place of its conflict when the revision is another.
    """
    try:
        return await work
    except Conflict as error:
        if error.reason != _FAILED:
            raise
        failed = HttpError(412, error.message)
        failed.details["neutron_type"] = _FAILED
        raise failed from None
