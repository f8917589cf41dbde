"""Whose turn it is to look through something, and what was found wrong and is not mended yet."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, NamedTuple

NETWORKS = "networks"
POOLS = "pools"
QUOTAS = "quotas"


class Note(NamedTuple):
    """A finding as it is kept.

    :ivar left_alone: whether only an operator goes on with it.
    """

    kind: str
    subject: str
    sentence: str
    remedy: str
    left_alone: bool = False


async def claim(querier: Any, name: str, driver: str, every_seconds: float) -> bool:
    """Take the turn to look through something, unless somebody had it a short while ago.

    :param name: ``pools``, ``quotas``.
    :param every_seconds: one process has the turn in so much time, whoever comes first; one that
        died in its turn loses it with that time.
    """
    taken = await querier.value(
        "insert into upkeep as u (name, driver, began_at) values (%(name)s, %(driver)s, now())"
        " on conflict (name) do update set driver = excluded.driver, began_at = now(),"
        " ended_at = null, problem = ''"
        " where u.began_at <= now() - make_interval(secs => %(every)s) returning 1",
        {"name": name, "driver": driver, "every": every_seconds},
    )
    return taken is not None


async def ended(querier: Any, name: str, found: int, mended: int, problem: str = "") -> None:
    """Write down what came of a turn."""
    await querier.run(
        "update upkeep set ended_at = now(), found = %s, mended = %s, problem = %s where name = %s",
        (found, mended, problem[:500], name),
    )


async def first_seen(
    querier: Any, area: str, cluster_id: int | None
) -> dict[tuple[str, str], datetime]:
    """Since when what is not mended is known, by kind and subject."""
    rows = await querier.all(
        "select kind, subject, first_seen_at from upkeep_finding"
        " where area = %s and cluster_id is not distinct from %s",
        (area, cluster_id),
    )
    return {(row.kind, row.subject): row.first_seen_at for row in rows}


async def write_down(
    tx: Any,
    area: str,
    cluster_id: int | None,
    notes: Iterable[Note],
    only: Collection[str] | None = None,
) -> list[Note]:
    """Keep what is wrong now, and forget what no longer is.

    :param only: the subjects that were looked at; None: all there are.
    :return: the notes that are new.
    """
    kept = list({(note.kind, note.subject): note for note in notes}.values())
    columns: tuple[list[Any], ...] = tuple(map(list, zip(*kept, strict=True))) or ([],) * 5
    await tx.run(
        "delete from upkeep_finding f where area = %s and cluster_id is not distinct from %s"
        " and (%s or subject = any(%s::text[])) and not exists (select from"
        " unnest(%s::text[], %s::text[]) as k (kind, subject)"
        " where k.kind = f.kind and k.subject = f.subject)",
        (area, cluster_id, only is None, list(only or ()), columns[0], columns[1]),
    )
    rows = await tx.all(
        "insert into upkeep_finding as f (area, cluster_id, kind, subject, sentence, remedy,"
        " left_alone) select %s, %s, k.* from"
        " unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::boolean[]) as k"
        " order by 3, 4 on conflict (area, cluster_id, kind, subject) do update"
        " set sentence = excluded.sentence, remedy = excluded.remedy,"
        " left_alone = excluded.left_alone, last_seen_at = now()"
        " returning kind, subject, xmax = 0 as new",
        (area, cluster_id, *columns),
    )
    new = {(row.kind, row.subject) for row in rows if row.new}
    return [note for note in kept if (note.kind, note.subject) in new]


async def open_ones(querier: Any) -> list[tuple[str, str, int]]:
    """How many findings are not mended: kind with its area before it, remedy, number."""
    rows = await querier.all(
        "select case area when 'networks' then 'network' else area end || '_' || kind as kind,"
        " remedy, count(*) as number from upkeep_finding group by 1, 2"
    )
    return [(row.kind, row.remedy, row.number) for row in rows]
