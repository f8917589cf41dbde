"""What the drift loops found: remembered over restarts, shown to operators."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from cyclades_tx.model.drift import ELSEWHERE, TWICE, UNREPORTED, Finding, Memory

Key = tuple[str, str]

#: How long what is over is kept for operators.
KEPT_DAYS = 30


# One parameter instead of an array for each column: psycopg2 quotes every element of an array.
_FOUND = (
    "json_to_recordset(%s::json) as f (kind text, subject text, server_id bigint, sentence text,"
    " remedy text, plan text)"
)


class Change(NamedTuple):
    """What came of writing the findings of a look down.

    :ivar new: the kinds of those that were not there before; ``gone``: (kind, subject, server,
        whether that was our doing) of those that are over.
    """

    new: list[str]
    gone: list[tuple[str, str, int | None, bool]]


async def memories(querier: Any, cluster_id: int) -> dict[Key, Memory]:
    """What is remembered of the open findings of a cluster."""
    rows = await querier.all(
        "select kind, subject, first_seen_at, failures, wanted_at is not null as wanted, job_id,"
        " trouble from drift_finding where cluster_id = %s and remedied_at is null",
        (cluster_id,),
    )
    return {(row.kind, row.subject): Memory(*row[2:]) for row in rows}


async def pressing(querier: Any, cluster_id: int) -> list[Any]:
    """The open findings that an operator wants mended, or whose removal is under way."""
    return list(
        await querier.all(
            "select kind, subject, server_id, job_id, wanted_at from drift_finding"
            " where cluster_id = %s and remedied_at is null and server_id is not null"
            " and (wanted_at is not null or job_id is not null) order by id",
            (cluster_id,),
        )
    )


async def elsewhere(querier: Any, cluster_id: int) -> frozenset[int]:
    """The servers whose instances other clusters were found to have."""
    rows = await querier.all(
        "select server_id from drift_finding where cluster_id <> %s and kind in (%s, %s)"
        " and remedied_at is null and server_id is not null",
        (cluster_id, ELSEWHERE, TWICE),
    )
    return frozenset(row.server_id for row in rows)


async def is_elsewhere(querier: Any, server_id: int, cluster_id: int) -> bool:
    """Whether another cluster was found to have a server's instance."""
    found: bool = await querier.value(
        "select exists (select from drift_finding where server_id = %s and cluster_id <> %s"
        " and kind in (%s, %s) and remedied_at is null)",
        (server_id, cluster_id, ELSEWHERE, TWICE),
    )
    return found


async def save(
    tx: Any,
    cluster_id: int,
    findings: Sequence[Finding],
    only: Iterable[int] | None,
    unjudged: Iterable[int] = (),
) -> Change:
    """Write down what a look has found; what it has not found any more is over.

    :param only: the servers that were looked at; None: all.
    :param unjudged: those of which the look can say nothing: what was found of them stays.
    """
    found = _json(findings)
    rows = await tx.all(
        "with saved as ("
        "insert into drift_finding (cluster_id, kind, subject, server_id, sentence, remedy, plan)"
        f" select %s, f.kind, f.subject, f.server_id, f.sentence, f.remedy, f.plan from {_FOUND}"
        " on conflict (cluster_id, kind, subject) where remedied_at is null do update"
        " set last_seen_at = now(), sentence = excluded.sentence, remedy = excluded.remedy,"
        " plan = excluded.plan, server_id = excluded.server_id"
        " returning kind, xmax = 0 as new) select kind from saved where new",
        (cluster_id, found),
    )
    gone = await tx.all(
        "update drift_finding d set remedied_at = now(), mended = d.attempted_at is not null,"
        " wanted_at = null, job_id = null"
        " where d.cluster_id = %s and d.remedied_at is null"
        " and (%s or d.server_id = any(%s::bigint[]))"
        # Whether a job is overdue is seen also of a server that something moves.
        " and (d.kind = %s or d.server_id is null or d.server_id <> all(%s::bigint[]))"
        f" and not exists (select from {_FOUND} where f.kind = d.kind and f.subject = d.subject)"
        " returning d.kind, d.subject, d.server_id, d.mended",
        (
            cluster_id,
            only is None,
            sorted(only or ()),
            UNREPORTED,
            sorted(unjudged),
            found,
        ),
    )
    return Change([row.kind for row in rows], [tuple(row) for row in gone])


def _json(findings: Sequence[Finding]) -> str:
    return orjson.dumps(
        [
            {
                "kind": each.kind,
                "subject": each.subject,
                "server_id": each.server_id,
                "sentence": each.sentence,
                "remedy": each.remedy,
                "plan": each.plan,
            }
            for each in findings
        ]
    ).decode()


async def note_look(tx: Any, cluster_id: int, seconds: float, instances: int, servers: int) -> None:
    """Write down that the whole cluster was looked at, and forget what is long over."""
    await tx.run(
        "insert into drift_look (cluster_id, looked_at, seconds, instances, servers)"
        " values (%s, now(), %s, %s, %s) on conflict (cluster_id) do update"
        " set looked_at = excluded.looked_at, seconds = excluded.seconds,"
        " instances = excluded.instances, servers = excluded.servers",
        (cluster_id, seconds, instances, servers),
    )
    await tx.run(
        "delete from drift_finding where cluster_id = %s"
        " and remedied_at < now() - make_interval(days => %s)",
        (cluster_id, KEPT_DAYS),
    )


async def note_mended(tx: Any, cluster_id: int, keys: Sequence[Key]) -> None:
    """These were mended by us."""
    await tx.run(
        "update drift_finding d set remedied_at = now(), mended = true, attempted_at = now(),"
        " wanted_at = null from unnest(%s::text[], %s::text[]) as f (kind, subject)"
        " where d.cluster_id = %s and d.remedied_at is null"
        " and d.kind = f.kind and d.subject = f.subject",
        ([key[0] for key in keys], [key[1] for key in keys], cluster_id),
    )


async def note_failed(tx: Any, cluster_id: int, troubles: Sequence[tuple[Key, str]]) -> None:
    """These could not be mended: pairs of key and reason."""
    await tx.run(
        "update drift_finding d set failures = d.failures + 1, trouble = f.trouble,"
        " attempted_at = now(), wanted_at = null, job_id = null"
        " from unnest(%s::text[], %s::text[], %s::text[]) as f (kind, subject, trouble)"
        " where d.cluster_id = %s and d.remedied_at is null"
        " and d.kind = f.kind and d.subject = f.subject",
        (
            [key[0] for key, _ in troubles],
            [key[1] for key, _ in troubles],
            [trouble[:1000] for _, trouble in troubles],
            cluster_id,
        ),
    )


async def note_tried(tx: Any, cluster_id: int, keys: Sequence[Key], most: int) -> None:
    """Something was done about these; whether it helped is seen in the next look.

    :param most: tries after which nobody waits for them any more.
    """
    await tx.run(
        "update drift_finding d set failures = d.failures + 1, attempted_at = now(),"
        " trouble = 'It was looked at, and still waits.',"
        " wanted_at = case when d.failures + 1 < %s then d.wanted_at end"
        " from unnest(%s::text[], %s::text[]) as f (kind, subject)"
        " where d.cluster_id = %s and d.remedied_at is null"
        " and d.kind = f.kind and d.subject = f.subject",
        (most, [key[0] for key in keys], [key[1] for key in keys], cluster_id),
    )


async def note_job(tx: Any, cluster_id: int, key: Key, job_id: int) -> None:
    """A job removes the instance."""
    await tx.run(
        "update drift_finding set job_id = %s, attempted_at = now(), wanted_at = null"
        " where cluster_id = %s and kind = %s and subject = %s and remedied_at is null",
        (job_id, cluster_id, *key),
    )


async def may_remove(tx: Any, cluster_id: int, server_id: int) -> bool:
    """Whether a server is surely not to have an instance on a cluster that it was made on.

    Its row stays as it is until the commit.
    """
    found: bool | None = await tx.value(
        "select true from server s where s.id = %s and s.cluster_id = %s and s.charge = 'none'"
        " and s.state in ('deleted', 'error') and not exists (select from operation o"
        " where o.server_id = s.id and o.finished_at is null) for share",
        (server_id, cluster_id),
    )
    return bool(found)


async def want(tx: Any, cluster_id: int, findings: Sequence[Finding]) -> None:
    """An operator wants these mended now, whatever was tried before."""
    await tx.run(
        "insert into drift_finding (cluster_id, kind, subject, server_id, sentence, remedy, plan,"
        " wanted_at)"
        " select %s, f.kind, f.subject, f.server_id, f.sentence, f.remedy, f.plan, now()"
        " from unnest(%s::text[], %s::text[], %s::bigint[], %s::text[], %s::text[], %s::text[])"
        " as f (kind, subject, server_id, sentence, remedy, plan)"
        " on conflict (cluster_id, kind, subject) where remedied_at is null do update"
        " set wanted_at = now(), failures = 0, trouble = ''",
        (
            cluster_id,
            [each.kind for each in findings],
            [each.subject for each in findings],
            [each.server_id for each in findings],
            [each.sentence for each in findings],
            [str(each.remedy) for each in findings],
            [each.plan for each in findings],
        ),
    )


async def fates(
    querier: Any, cluster_id: int, keys: Sequence[Key], since: datetime
) -> dict[Key, Any]:
    """What became of findings: their newest rows that were still open at some time, by key."""
    rows = await querier.all(
        "select distinct on (d.kind, d.subject) d.kind, d.subject, d.remedied_at, d.failures,"
        " d.trouble, d.wanted_at, d.job_id from drift_finding d"
        " join unnest(%s::text[], %s::text[]) as f (kind, subject)"
        " on f.kind = d.kind and f.subject = d.subject"
        " where d.cluster_id = %s and (d.remedied_at is null or d.remedied_at >= %s)"
        " order by d.kind, d.subject, d.id desc",
        ([key[0] for key in keys], [key[1] for key in keys], cluster_id, since),
    )
    return {(row.kind, row.subject): row for row in rows}


async def driver_of(querier: Any, cluster_id: int, silence_seconds: float) -> str | None:
    """The process that drives a cluster now, or None."""
    found: str | None = await querier.value(
        "select l.driver from cluster_lease l join process p on p.driver = l.driver"
        " where l.cluster_id = %s and p.beaten_at > now() - make_interval(secs => %s)",
        (cluster_id, silence_seconds),
    )
    return found


async def open_ones(querier: Any) -> list[Any]:
    """How many findings are open, by kind and remedy, for the metrics."""
    return list(
        await querier.all(
            "select kind, remedy, count(*) as count from drift_finding"
            " where remedied_at is null group by kind, remedy"
        )
    )


async def long_sent(querier: Any, cluster_id: int, seconds: float, most: int) -> list[Any]:
    """The open operations on servers whose jobs were sent long ago, the oldest first."""
    return list(
        await querier.all(
            "select id, server_id, kind, job_id, submitted_at from operation"
            " where cluster_id = %s and finished_at is null and state = 'submitted'"
            " and server_id is not null and submitted_at < now() - make_interval(secs => %s)"
            " order by submitted_at limit %s",
            (cluster_id, seconds, most),
        )
    )
