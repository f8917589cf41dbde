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
#: The largest size, and the largest offset.
MOST = 2**24


class ValuePools:
    """The pools that the flavors PHYSICAL_VLAN and MAC_FILTERED take from.

    :param mac_prefix: of the networks of other flavors, which no pool may give out.
    """

    def __init__(self, database: Any, *, mac_prefix: str = "aa:00:0") -> None:
        self._database = database
        self._mac_prefix = mac_prefix

    async def create(self, kind: str, base: str, size: int, offset: int = 0) -> int:
        """Make a pool; what networks have of it already is not free.

        :param size: how many values its numbers make: bridges 1 to ``size``, MAC prefixes 1 to
            ``size - 1``, of which only those for single machines are given out.
        :param offset: is added to these numbers.
        :return: its id.
        :raise BadRequest: for a base, size or offset that gives no values.
        :raise Conflict: when there is one with these values.
        """
        first, last = _ends(kind, size, offset)
        arithmetic.check_pool(kind, base, first, last)

        async def work(tx: Any) -> int:
            await self._check_others(tx, kind, base, first, last, None)
            pool_id = await store.insert(tx, kind, base, first, last)
            await self._reserve_usual(tx, pool_id, kind, base, first, last)
            await values.write_free(tx, pool_id)
            return pool_id

        made: int = await self._database.transaction(work, "pool.create")
        return made

    async def change(
        self,
        pool_id: int,
        *,
        size: int | None = None,
        base: str | None = None,
        offset: int | None = None,
        reserve: Collection[int] = (),
        release: Collection[int] = (),
    ) -> None:
        """Make a pool larger or smaller, move it, or keep values back from networks.

        :param base: what its values begin with from now on; those that are kept back stay so
            where the pool still has them.
        :param offset: its first number is the one after it.
        :param reserve: numbers that no network gets from now on.
        :param release: numbers that were kept back and are free again.
        :raise NotFound: when there is none of this id.
        :raise Conflict: when a network has one of the values.
        """

        async def work(tx: Any) -> None:
            await store.lock_free(tx, pool_id)
            pool = await store.lock(tx, pool_id)
            kind, begins = pool.kind, pool.base if base is None else base
            first, last = _ends(
                kind,
                _size(pool) if size is None else size,
                pool.first_value - _FIRST if offset is None else offset,
            )
            arithmetic.check_pool(kind, begins, first, last)
            await self._check_others(tx, kind, begins, first, last, pool_id)
            moved = {
                text: value_number(kind, begins, text)
                for text in (
                    arithmetic.value_text(kind, pool.base, number)
                    for number in sorted(await store.taken(tx, pool))
                )
            }
            for text, number in moved.items():
                if number is None or not first <= number <= last:
                    raise Conflict(
                        f"A network has {text}, which the pool would not have any more.", "in_use"
                    )
            if begins != pool.base:
                kept = [
                    value_number(kind, begins, arithmetic.value_text(kind, pool.base, number))
                    for number in await store.reserved(tx, pool_id)
                ]
                await store.rebase(tx, pool_id, begins, [n for n in kept if n is not None])
            await store.set_ends(tx, pool_id, first, last)
            taken = await store.taken(tx, await store.of(tx, pool_id))
            for number in sorted({*reserve, *release}):
                if not first <= number <= last:
                    raise BadRequest(f"The pool has no number {number}.")
                if number in reserve and number in taken:
                    text = arithmetic.value_text(kind, begins, number)
                    raise Conflict(f"A network has {text}: it cannot be kept back.", "in_use")
            if begins != pool.base or first != pool.first_value:
                await self._reserve_usual(tx, pool_id, kind, begins, first, last)
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

    async def _reserve_usual(
        self, tx: Any, pool_id: int, kind: str, base: str, first: int, last: int
    ) -> None:
        """Keep the MAC prefix of the networks of other flavors back, if the pool has it."""
        if kind == arithmetic.MAC_PREFIX:
            number = value_number(kind, base, self._mac_prefix)
            if number is not None and first <= number <= last:
                await store.reserve(tx, pool_id, [number])

    async def _check_others(
        self, tx: Any, kind: str, base: str, first: int, last: int, pool_id: int | None
    ) -> None:
        """See that no value would be in two pools."""
        for other in await store.of_kind(tx, kind):
            if other.id == pool_id:
                continue
            ends = [
                value_number(kind, other.base, arithmetic.value_text(kind, base, number))
                for number in (first, last)
            ]
            begins = value_number(
                kind, base, arithmetic.value_text(kind, other.base, other.first_value)
            )
            inside = any(
                end is not None and other.first_value <= end <= other.last_value for end in ends
            ) or (begins is not None and first <= begins <= last)
            if inside:
                raise Conflict(
                    f"The pool {other.id} ({other.base}) has some of these values already.",
                    "overlap",
                )


def _ends(kind: str, size: int, offset: int) -> tuple[int, int]:
    """The first and the last number of a pool."""
    if not 1 <= size <= MOST or not 0 <= offset <= MOST:
        raise BadRequest(f"The size of a pool is from 1 to {MOST}, its offset at most that.")
    return _FIRST + offset, offset + (size if kind == arithmetic.BRIDGE else size - 1)


def _size(pool: Any) -> int:
    """The size of a pool that is there."""
    count: int = pool.last_value - pool.first_value + 1
    return count if pool.kind == arithmetic.BRIDGE else count + 1
