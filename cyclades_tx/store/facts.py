"""Facts about jobs in the database: many at once in, and out for those who drive clusters.

Facts speak of clusters by name. One about a server that is not on the cluster it claims to come
from, or about nothing that is there, is left out: whoever can send messages can at most make
somebody look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from cyclades_tx.model.fact import FINAL_RANK, JobFact
from cyclades_tx.model.job import Job, JobStatus
from cyclades_tx.store.operations import WAKE

#: How long a fact is of use: a job of ours that ended so long ago was found by asking.
RETENTION_SECONDS = 21_600.0
PRUNED_AT_ONCE = 5_000

#: PostgreSQL refuses notifications of 8000 bytes and more.
_LONGEST_PAYLOAD = 7_900

# One parameter instead of an array for each column: psycopg2 quotes every element of an array.
_RECORD = f"""
with told as (
  select * from json_to_recordset(%s::json) as t (cluster text, job_id bigint, opcode text,
    subject text, subject_id bigint, op_index smallint, job_ops smallint, status text,
    rank smallint, event_seconds float8)),
ours as (
  select c.id as cluster_id, told.* from told join cluster c on c.name = told.cluster
  where case left(told.subject, 1)
    when 'o' then exists (select from server s where s.id = told.subject_id
      and s.cluster_id = c.id and s.deleted_at is null)
    when 'n' then exists (select from network n where n.id = told.subject_id
      and n.deleted_at is null)
    else true end),
kept as (
  insert into job_fact as f (cluster_id, job_id, opcode, subject, op_index, job_ops, status, rank,
    event_at, finished_at)
  select cluster_id, job_id, opcode, subject, op_index, job_ops, status, rank,
    to_timestamp(event_seconds),
    case when rank >= {FINAL_RANK} then clock_timestamp() end
  from ours order by cluster_id, job_id, opcode, subject, op_index
  on conflict (cluster_id, job_id, opcode, subject, op_index) do update set
    status = excluded.status, rank = excluded.rank, event_at = excluded.event_at, told_at = now(),
    job_ops = greatest(f.job_ops, excluded.job_ops),
    finished_at = coalesce(f.finished_at, excluded.finished_at)
  where excluded.rank > f.rank)
select cluster_id, count(*) as count,
  string_agg(distinct subject, ',') filter (where rank >= {FINAL_RANK}) as wakes
from ours group by cluster_id"""

# A fact counts for an operation only if it was told after the job was submitted: a cluster that
# was made anew counts its jobs from 1 again. Of a job with several opcodes it says too little.
_OF_JOBS = f"""
select w.job_id, w.operation_id, f.status,
  f.rank >= {FINAL_RANK} and f.finished_at >= o.submitted_at and f.job_ops <= 1
    and count(*) over (partition by w.job_id) = 1 as ended
from unnest(%s::bigint[], %s::text[], %s::bigint[]) as w (job_id, subject, operation_id)
join operation o on o.id = w.operation_id and o.finished_at is null
join job_fact f on f.cluster_id = o.cluster_id and f.job_id = w.job_id and f.subject = w.subject"""

_PRUNE = """
delete from job_fact where ctid = any (array(
  select ctid from job_fact where created_at < now() - make_interval(secs => %s)
  order by created_at limit %s for update skip locked))"""

_PROBE = """
insert into job_fact (cluster_id, job_id, opcode, subject, op_index, job_ops, status, rank,
  event_at) values (0, 0, '', '', 0, 0, '', 0, now()) on conflict do nothing"""

_STANDING = """
select s.id, s.ganeti_status, s.ganeti_serial, exists (select from operation o
  where o.server_id = s.id and o.finished_at is null) as moves
from server s where s.id = any (%s) and s.cluster_id = %s and s.deleted_at is null
and s.charge <> 'none'"""


@dataclass(frozen=True)
class Told:
    """What a driver learns of the job of one of its operations.

    :ivar status: how far the job is; only of use to people when it has not ended.
    :ivar job: the job, when it has surely ended.
    """

    operation_id: int
    job_id: int
    status: str
    job: Job | None


@dataclass(frozen=True)
class Standing:
    """A server as it was last seen.

    :ivar moves: whether an operation on it is open.
    """

    server_id: int
    status: str | None
    serial: int | None
    moves: bool


async def record(tx: Any, facts: Sequence[JobFact]) -> int:
    """Keep facts, and wake those who should look, when the transaction commits.

    An end wakes also when it was told before.

    :param facts: at most one of each key, ordered by their keys (``model.fact.furthest``).
    :return: how many of them are about things of ours on the cluster that they name.
    """
    rows = await tx.all(
        _RECORD,
        (
            orjson.dumps(
                [
                    {
                        "cluster": fact.cluster,
                        "job_id": fact.job_id,
                        "opcode": fact.opcode,
                        "subject": fact.subject,
                        "subject_id": fact.subject_id,
                        "op_index": fact.op_index,
                        "job_ops": fact.job_ops,
                        "status": fact.status,
                        "rank": fact.rank,
                        "event_seconds": fact.event_seconds,
                    }
                    for fact in facts
                ]
            ).decode(),
        ),
    )
    wakes = [
        payload
        for row in rows
        if row.wakes is not None
        for payload in payloads(row.cluster_id, row.wakes.split(","))
    ]
    if wakes:
        await tx.run("select pg_notify(%s, p) from unnest(%s::text[]) as p", (WAKE, wakes))
    return sum(row.count for row in rows)


async def probe(tx: Any) -> None:
    """See that facts can be written at all; nothing of it is left.

    :raise Exception: as PostgreSQL says why they cannot.
    """
    await tx.run(_PROBE)
    await tx.run("delete from job_fact where cluster_id = 0")


def payloads(cluster_id: int, keys: Sequence[str]) -> list[str]:
    """The notifications for many keys of one cluster, each short enough for PostgreSQL."""
    found: list[str] = []
    joined = ""
    for key in keys:
        if joined and len(joined) + len(key) >= _LONGEST_PAYLOAD:
            found.append(joined)
            joined = ""
        joined = f"{joined},{key}" if joined else f"{cluster_id}:{key}"
    return [*found, joined] if joined else found


async def of_jobs(querier: Any, watched: Sequence[tuple[int, str, int]]) -> list[Told]:
    """What was told of the jobs of open operations.

    :param watched: job id, subject (``o42``) and operation id of each.
    """
    columns = tuple(list(column) for column in zip(*watched, strict=True))
    rows = await querier.all(_OF_JOBS, columns)
    return [
        Told(
            row.operation_id,
            row.job_id,
            row.status,
            Job(row.job_id, JobStatus(row.status), told=True) if row.ended else None,
        )
        for row in rows
    ]


async def standing(querier: Any, cluster_id: int, server_ids: Sequence[int]) -> list[Standing]:
    """How the live ones of some servers of a cluster were last seen."""
    rows = await querier.all(_STANDING, (list(server_ids), cluster_id))
    return [Standing(row.id, row.ganeti_status, row.ganeti_serial, row.moves) for row in rows]


async def prune(querier: Any, older_seconds: float = RETENTION_SECONDS) -> int:
    """Throw away some of the facts that are of no more use; return how many."""
    gone: int = await querier.run(_PRUNE, (older_seconds, PRUNED_AT_ONCE))
    return gone
