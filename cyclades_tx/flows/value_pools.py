"""What an operator can ask for about pools of bridges and of MAC prefixes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from cyclades_tx.errors import BadRequest, Conflict
from cyclades_tx.model import values as arithmetic
from cyclades_tx.model.books import value_number
from cyclades_tx.store import value_pools as store
from cyclades_tx.store import values

#: Of bridges the first is number 1. Of MAC prefixes too: number 0 is left to other networks.
_FIRST = 1
_MOST = 2**24


class ValuePools:
    """The pools that the flavors PHYSICAL_VLAN and MAC_FILTERED take from.

    :param mac_prefix: of the networks of other flavors, which no pool may give out.
    """

    def __init__(self, database: Any, *, mac_prefix: str = "aa:00:0") -> None:
        self._database = database
        self._mac_prefix = mac_prefix

    async def create(self, kind: str, base: str, size: int) -> int:
        """Make a pool; what networks have of it already is not free.

        :param size: how many values its numbers make: bridges 1 to ``size``, MAC prefixes 1 to
            ``size - 1``, of which only those for single machines are given out.
        :return: its id.
        :raise BadRequest: for a base or size that gives no values.
        :raise Conflict: when there is one with these values.
        """
        last = _last(kind, size)
        arithmetic.check_pool(kind, base, _FIRST, last)

        async def work(tx: Any) -> int:
            await self._check_others(tx, kind, base, last, None)
            pool_id = await store.insert(tx, kind, base, _FIRST, last)
            number = value_number(kind, base, self._mac_prefix)
            if kind == arithmetic.MAC_PREFIX and number is not None and number >= _FIRST:
                await store.reserve(tx, pool_id, [number])
            await values.write_free(tx, pool_id)
            return pool_id

        made: int = await self._database.transaction(work, "pool.create")
        return made

    async def change(
        self,
        pool_id: int,
        *,
        size: int | None = None,
        reserve: Collection[int] = (),
        release: Collection[int] = (),
    ) -> None:
        """Make a pool larger or smaller, or keep values back from networks.

        :param reserve: numbers that no network gets from now on.
        :param release: numbers that were kept back and are free again.
        :raise NotFound: when there is none of this id.
        :raise Conflict: when a network has one of the values.
        """

        async def work(tx: Any) -> None:
            await store.lock_free(tx, pool_id)
            pool = await store.lock(tx, pool_id)
            last = pool.last_value if size is None else _last(pool.kind, size)
            arithmetic.check_pool(pool.kind, pool.base, pool.first_value, last)
            await self._check_others(tx, pool.kind, pool.base, last, pool_id)
            taken = await store.taken(tx, pool)
            over = sorted(each for each in taken if last < each <= pool.last_value)
            if over:
                text = arithmetic.value_text(pool.kind, pool.base, over[0])
                raise Conflict(f"The pool cannot be made smaller: a network has {text}.", "in_use")
            for number in sorted({*reserve, *release}):
                if not pool.first_value <= number <= last:
                    raise BadRequest(f"The pool has no number {number}.")
                if number in reserve and number in taken:
                    text = arithmetic.value_text(pool.kind, pool.base, number)
                    raise Conflict(f"A network has {text}: it cannot be kept back.", "in_use")
            await store.set_last(tx, pool_id, last)
            await store.reserve(tx, pool_id, reserve)
            await store.release(tx, pool_id, release)
            await values.write_free(tx, pool_id)

        await self._database.transaction(work, "pool.change")

    async def remove(self, pool_id: int) -> None:
        """Remove a pool that no network has a value of.

        :raise Conflict: when one has.
        """

        async def work(tx: Any) -> None:
            await store.lock_free(tx, pool_id)
            pool = await store.lock(tx, pool_id)
            taken = await store.taken(tx, pool)
            if taken:
                raise Conflict(
                    f"{len(taken)} networks have a value of the pool, the first"
                    f" {arithmetic.value_text(pool.kind, pool.base, min(taken))}.",
                    "in_use",
                )
            await store.delete(tx, pool_id)

        await self._database.transaction(work, "pool.remove")

    async def show(self, pool_id: int) -> dict[str, Any]:
        """What a pool has, and what of it is free.

        :raise NotFound: when there is none of this id.
        """
        pool = await store.of(self._database, pool_id)
        taken = await store.taken(self._database, pool)
        reserved = await store.reserved(self._database, pool_id)
        usable = arithmetic.usable_ranges(pool.kind, pool.base, pool.first_value, pool.last_value)

        def text(number: int) -> str:
            return arithmetic.value_text(pool.kind, pool.base, number)

        return {
            "id": pool.id,
            "type": pool.kind.replace("_", "-"),
            "base": pool.base,
            "first": text(pool.first_value),
            "last": text(pool.last_value),
            "usable": sum(high - low + 1 for low, high in usable),
            "free": await store.count_free(self._database, pool_id),
            "used": len(taken),
            "reserved": [text(number) for number in reserved],
        }

    async def _check_others(
        self, tx: Any, kind: str, base: str, last: int, pool_id: int | None
    ) -> None:
        """See that no value would be in two pools."""
        for other in await store.of_kind(tx, kind):
            if other.id == pool_id:
                continue
            ends = [
                value_number(kind, other.base, arithmetic.value_text(kind, base, number))
                for number in (_FIRST, last)
            ]
            begins = value_number(
                kind, base, arithmetic.value_text(kind, other.base, other.first_value)
            )
            inside = any(
                end is not None and other.first_value <= end <= other.last_value for end in ends
            ) or (begins is not None and _FIRST <= begins <= last)
            if inside:
                raise Conflict(
                    f"The pool {other.id} ({other.base}) has some of these values already.",
                    "overlap",
                )


def _last(kind: str, size: int) -> int:
    if not 1 <= size <= _MOST:
        raise BadRequest(f"The size of a pool is from 1 to {_MOST}.")
    return size if kind == arithmetic.BRIDGE else size - 1
