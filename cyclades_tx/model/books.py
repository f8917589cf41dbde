"""The books of the database itself: addresses, pools of values, quota holdings.

Each must agree with what it is the sum of. Where it does not, the sum is right; what is no sum,
but was entered wrongly, only a person can put right.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Addresses.
FREE_ADDRESSES = "free_addresses"
LEAKED_ADDRESSES = "leaked_addresses"
LEAKED_PORTS = "leaked_ports"
PORTS_OF_GONE_SERVER = "ports_of_gone_server"
OPEN_HISTORY = "open_history"
ADDRESS_OUTSIDE = "address_outside"
WRONG_POOL = "wrong_pool"
OVERLAP = "overlap"
# Pools of bridges and MAC prefixes.
FREE_VALUES = "free_values"
# Holdings.
HOLDING = "holding"
RESERVATION = "reservation"

POOL_KINDS = (
    FREE_ADDRESSES, LEAKED_ADDRESSES, LEAKED_PORTS, PORTS_OF_GONE_SERVER, OPEN_HISTORY,
    ADDRESS_OUTSIDE, WRONG_POOL, OVERLAP, FREE_VALUES,
)  # fmt: skip

_HEX_PREFIX = re.compile(r"^([0-9a-f]{2}:)*[0-9a-f]{1,2}$")


@dataclass(frozen=True)
class BookFinding:
    """One thing in the books that is wrong.

    :ivar subject: names it together with the kind, also in the next look.
    :ivar mendable: whether it can be put right without a person.
    :ivar ids: of the rows that the mending is about.
    :ivar project_id: whose holdings are wrong.
    """

    kind: str
    subject: str
    sentence: str
    mendable: bool = True
    ids: tuple[int, ...] = ()
    project_id: str | None = None


def value_number(kind: str, base: str, text: str) -> int | None:
    """The number of a value in a pool; None when it was made by hand and belongs to none.

    In the pool ``prv`` of bridges ``prv7`` is 7; in the pool ``aa:00:0`` of MAC prefixes
    ``aa:00:3`` is 3.
    """
    if kind == "bridge":
        digits = text.removeprefix(base)
        if digits == text or not re.fullmatch(r"0|[1-9][0-9]{0,17}", digits, re.ASCII):
            return None
        return int(digits)
    if not _HEX_PREFIX.match(base) or not _HEX_PREFIX.match(text):
        return None
    start, digits = base.replace(":", ""), text.replace(":", "")
    if len(start) != len(digits) or int(digits, 16) < int(start, 16):
        return None
    return int(digits, 16) - int(start, 16)


def free_ranges(first: int, last: int, used: frozenset[int]) -> tuple[tuple[int, int], ...]:
    """The runs of numbers from ``first`` to ``last`` that are not used, both ends included."""
    found = []
    low = first
    for number in sorted(each for each in used if first <= each <= last):
        if number > low:
            found.append((low, number - 1))
        low = number + 1
    if low <= last:
        found.append((low, last))
    return tuple(found)
