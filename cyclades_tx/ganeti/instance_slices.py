"""All instances of a cluster, with their details or at a glance, handed over in slices.

Thousands of instances are read in a worker process; what comes back is pickled slice by slice,
so that the reactor never has more than a few milliseconds of work at once.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cyclades_tx.ganeti import replies
from cyclades_tx.ganeti.large_json import parse
from cyclades_tx.ganeti.replies import OddReply
from cyclades_tx.model.instance import Instance, InstanceGlance

#: Instances, and glances, in one slice.
SLICE = 200
GLANCES = 500


@dataclass(frozen=True)
class Packed:
    """What a worker hands over.

    :ivar slices: pickled.
    :ivar odd: why there are none; an error of ours cannot be handed over.
    """

    slices: list[bytes]
    odd: str = ""


def read(reply: Any) -> Iterator[tuple[Instance, ...]]:
    """The instances of a parsed reply, by the length of their names and the names themselves.

    :raise OddReply: when the reply is not one that Ganeti gives.
    """
    rows = replies.rows(reply, replies.INSTANCE_FIELDS)
    rows.sort(key=_place)
    for start in range(0, len(rows), SLICE):
        yield tuple(replies.instance(row) for row in rows[start : start + SLICE])


def read_glances(reply: Any) -> Iterator[tuple[InstanceGlance, ...]]:
    """The glances in a parsed reply.

    :raise OddReply: when the reply is not one that Ganeti gives.
    """
    rows = replies.rows(reply, replies.GLANCE_FIELDS)
    for start in range(0, len(rows), GLANCES):
        yield tuple(replies.glance(row) for row in rows[start : start + GLANCES])


def _place(row: dict[str, Any]) -> tuple[int, str]:
    name = row["name"] if isinstance(row["name"], str) else ""
    return len(name), name


def pack(text: bytes) -> Packed:
    """Read a reply of instances in a worker process.

    :raise ValueError: when it is not JSON.
    """
    return _pack(text, read)


def pack_glances(text: bytes) -> Packed:
    """The same of glances."""
    return _pack(text, read_glances)


def _pack(text: bytes, read_in: Callable[[Any], Iterator[Any]]) -> Packed:
    try:
        return Packed(
            [pickle.dumps(each, pickle.HIGHEST_PROTOCOL) for each in read_in(parse(text))]
        )
    except OddReply as error:
        return Packed([], error.message)


def slices_of(reply: Any, read_in: Callable[[Any], Iterator[Any]]) -> Iterator[Any]:
    """The slices of a parsed reply, or of what our own worker has packed of it.

    :param read_in: reads a parsed reply.

    :raise OddReply: when the worker said so.
    """
    if not isinstance(reply, Packed):
        return iter(tuple(read_in(reply)))
    if reply.odd:
        raise OddReply(reply.odd)
    # Nobody but our own worker process makes these bytes.
    return (pickle.loads(each) for each in reply.slices)
