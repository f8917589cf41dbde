"""Operations in the database: opening, the marks of their way, closing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from cyclades_tx.errors import LostLease
from cyclades_tx.model import kept_volume_plan, procedure
from cyclades_tx.model.job import Job
from cyclades_tx.model.operation import Operation
from cyclades_tx.store import outbox

WAKE = "cyclades_wake"

_COLUMNS = (
    "id, kind, state, cluster_id, deadline_at, created_at, uuid, server_id, network_id,"
    " project_id, user_id, request_id, arguments, step, attempt, reason, job_id, failures,"
    " submitted_at, volume_id"
)

#: The argument that keeps what only those who run the cloud are told of a failure.
INSIDE = "inside"

_ENDING = ", ".join(f"'{step}'" for step in sorted(procedure.BACKWARD | kept_volume_plan.ENDING))
#: The SQL of when an operation ends at the latest: what takes back has some time of its own.
LAST_AT = (
    f"(deadline_at + case when step in ({_ENDING})"
    f" then interval '{procedure.BACK_TIME.total_seconds():.0f} seconds' else interval '0' end)"
)


def operation_of(row: Any) -> Operation:
    """The value of a row of :data:`_COLUMNS`."""
    return Operation(**{**row._asdict(), "uuid": str(row.uuid)})


async def open_operation(
    tx: Any,
    *,
    kind: str,
    cluster_id: int,
    deadline_seconds: float,
    server_id: int | None = None,
    network_id: int | None = None,
    volume_id: int | None = None,
    project_id: str | None = None,
    user_id: str | None = None,
    request_id: str = "",
    arguments: dict[str, Any] | None = None,
    reason: str = "",
) -> int:
    """Open an operation and wake whoever drives its cluster, when the transaction commits.

    :return: its id. A second open one on the same server is a UniqueViolation.
    """
    operation_id: int = await tx.value(
        "insert into operation (kind, cluster_id, deadline_at, server_id, network_id, volume_id,"
        " project_id, user_id, request_id, arguments, reason, told_reason)"
        " values (%s, %s, now() + make_interval(secs => %s), %s, %s, %s, %s, %s, %s, %s, %s, %s)"
        " returning id",
        (
            kind,
            cluster_id,
            deadline_seconds,
            server_id,
            network_id,
            volume_id,
            project_id,
            user_id,
            request_id,
            orjson.dumps(arguments or {}).decode(),
            reason,
            reason,
        ),
    )
    await outbox.tell_operation(tx, "operation.started", operation_id)
    await wake(tx, cluster_id, server_id, network_id, volume_id)
    return operation_id


async def wake(
    tx: Any,
    cluster_id: int,
    server_id: int | None,
    network_id: int | None = None,
    volume_id: int | None = None,
) -> None:
    """Wake the loop that looks after a server, after a network on a cluster, or a kept volume."""
    key = f"v{volume_id}" if network_id is None else f"n{network_id}"
    if server_id is not None:
        key = f"s{server_id}"
    await tx.notify(WAKE, f"{cluster_id}:{key}")


async def check_epoch(tx: Any, cluster_id: int, epoch: int) -> None:
    """Hold the lease's row until the commit, so that nobody takes over in between.

    :raise LostLease: when another process drives the cluster now.
    """
    held = await tx.value(
        "select 1 from cluster_lease where cluster_id = %s and epoch = %s for share",
        (cluster_id, epoch),
    )
    if held is None:
        raise LostLease(f"another process drives cluster {cluster_id} now")


async def open_of_server(querier: Any, server_id: int, lock: bool = False) -> list[Operation]:
    """The open operations of a server: at most a change and a delete, the change first.

    :param lock: whether they stay as they are until the commit: whoever closes an operation
        because nothing was sent must not be overtaken by the loop that is about to send it.
    """
    rows = await querier.all(
        f"select {_COLUMNS} from operation where server_id = %s and finished_at is null"
        f" order by (kind = 'delete'){' for update' if lock else ''}",
        (server_id,),
    )
    return [operation_of(row) for row in rows]


async def is_leaving(querier: Any, server_id: int) -> bool:
    """Whether a server is wished gone."""
    leaving: bool = await querier.value(
        "select exists (select from operation where server_id = %s and kind = 'delete'"
        " and finished_at is null)",
        (server_id,),
    )
    return leaving


async def unseen_creation(querier: Any, server_id: int) -> Any:
    """The request of a creation that was given up before anyone saw the end of its job, or None.

    One that puts a disk on the instance counts as well: a removal behind it would take that along.

    :return: the operation's id, step and attempt, and the job, if it is known.
    """
    return await querier.first(
        "select o.id, s.step, s.attempt, s.job_id from operation o"
        " join operation_step s on s.operation_id = o.id where o.server_id = %s"
        " and o.finished_at is not null and (s.step in ('create', 'put_on')"
        # Its server lives on, and is looked at often: after a day nothing of it runs.
        " or s.step = 'attach_volume' and o.finished_at > now() - interval '1 day')"
        " and s.result = 'unknown' order by s.started_at desc, s.attempt desc limit 1",
        (server_id,),
    )


async def open_of_network(querier: Any, network_id: int, cluster_id: int) -> Operation | None:
    """The open operation of a network on a cluster, or None."""
    row = await querier.first(
        f"select {_COLUMNS} from operation where network_id = %s and cluster_id = %s"
        " and server_id is null and finished_at is null",
        (network_id, cluster_id),
    )
    return None if row is None else operation_of(row)


async def open_of_volume(querier: Any, volume_id: int, cluster_id: int) -> Operation | None:
    """The open operation on a cluster of a volume that no server has, or None."""
    row = await querier.first(
        f"select {_COLUMNS} from operation where volume_id = %s and cluster_id = %s"
        " and server_id is null and finished_at is null order by id limit 1",
        (volume_id, cluster_id),
    )
    return None if row is None else operation_of(row)


async def due(querier: Any, cluster_id: int, limit: int) -> list[Any]:
    """The keys (as of :func:`open_keys`) of a cluster's open operations whose time has come."""
    return list(
        await querier.all(
            "select server_id, network_id, volume_id from operation where cluster_id = %s"
            " and finished_at is null and wake_at <= now() order by wake_at limit %s",
            (cluster_id, limit),
        )
    )


async def open_keys(querier: Any, cluster_id: int) -> list[Any]:
    """The (server_id, network_id, volume_id) of every open operation of a cluster."""
    return list(
        await querier.all(
            "select server_id, network_id, volume_id from operation where cluster_id = %s"
            " and finished_at is null",
            (cluster_id,),
        )
    )


async def ends_of(querier: Any, operation_ids: Iterable[int]) -> list[Any]:
    """How operations stand: id, state, reason, whether it is over."""
    return list(
        await querier.all(
            "select id, state, reason, finished_at is not null as over from operation"
            " where id = any(%s::bigint[])",
            (list(operation_ids),),
        )
    )


async def subject_of(querier: Any, operation_id: int) -> Any:
    """What an operation is about: its server's id, UUID and project; None when there is none."""
    return await querier.first(
        "select o.server_id, s.uuid::text as server_uuid, s.project_id from operation o"
        " left join server s on s.id = o.server_id where o.id = %s",
        (operation_id,),
    )


async def overdue(querier: Any, seconds: float) -> Any:
    """The open operations that should be over for so long: their ``number``, and the ``id`` and
    ``seconds`` of the one that should be so for the longest time.
    """
    return await querier.first(
        f"select count(*) as number, (array_agg(id order by {LAST_AT}))[1] as id,"
        f" extract(epoch from now() - min({LAST_AT}))::float8 as seconds from operation"
        f" where finished_at is null and {LAST_AT} < now() - make_interval(secs => %s)",
        (seconds,),
    )


async def seconds_left(querier: Any, operation_id: int) -> float:
    """How long it is until an operation's deadline; 0 when that has passed."""
    left: float = await querier.value(
        "select greatest(extract(epoch from deadline_at - now()), 0)::float8 from operation"
        " where id = %s",
        (operation_id,),
    )
    return left


async def mark_submitting(tx: Any, operation: Operation, step: str, attempt: int) -> bool:
    """Write down that a request is about to be sent.

    :return: False when the operation was closed, or taken further, since it was read: then
        nothing may be sent.
    """
    changed = await tx.run(
        "update operation set state = 'submitting', step = %s, attempt = %s, job_id = null,"
        " job_status = null, submitted_at = clock_timestamp(),"
        " started_at = coalesce(started_at, now()), reason = ''"
        " where id = %s and finished_at is null and state = %s"
        " and submitted_at is not distinct from %s",
        (step, attempt, operation.id, operation.state, operation.submitted_at),
    )
    if not changed:
        return False
    await tx.run(
        "insert into operation_step (operation_id, step, attempt) values (%s, %s, %s)"
        " on conflict do nothing",
        (operation.id, step, attempt),
    )
    return True


async def mark_submitted(tx: Any, operation_id: int, step: str, attempt: int, job_id: int) -> None:
    """Write down the job that the cluster accepted."""
    await tx.run(
        "update operation set state = 'submitted', job_id = %s, failures = 0,"
        " wake_at = least(now() + interval '30 seconds', deadline_at)"
        " where id = %s and finished_at is null",
        (job_id, operation_id),
    )
    await tx.run(
        "update operation_step set job_id = %s"
        " where operation_id = %s and step = %s and attempt = %s",
        (job_id, operation_id, step, attempt),
    )
    await outbox.tell_operation(tx, "operation.running", operation_id)


async def mark_unsent(tx: Any, operation_id: int, state: str, reason: str, seconds: float) -> None:
    """Nothing was sent, or nobody knows: try again after a pause.

    :param state: ``pending`` when surely nothing was ever sent, ``submitting`` when it may have
        been.
    """
    await tx.run(
        "update operation set state = %s, reason = %s, failures = failures + 1,"
        " wake_at = now() + make_interval(secs => %s)"
        " where id = %s and state = 'submitting'",
        (state, reason, seconds, operation_id),
    )


async def mark_waiting(querier: Any, operation_id: int, reason: str, seconds: float) -> None:
    """Say why it waits, and when it is looked at again at the latest."""
    await querier.run(
        "update operation set reason = %s, wake_at = now() + make_interval(secs => %s)"
        " where id = %s and finished_at is null",
        (reason, seconds, operation_id),
    )


async def mark_failed_cluster(querier: Any, operation_id: int, reason: str, seconds: float) -> None:
    """The cluster could not be asked: say why, and try again after a pause."""
    await querier.run(
        "update operation set reason = %s, failures = failures + 1,"
        " wake_at = now() + make_interval(secs => %s)"
        " where id = %s and finished_at is null",
        (reason, seconds, operation_id),
    )


async def mark_jobs(querier: Any, seen: Iterable[tuple[int, str]]) -> None:
    """Write down how the jobs of operations stand: pairs of operation id and status word."""
    pairs = list(seen)
    await querier.run(
        "update operation o set job_status = s.status"
        " from unnest(%s::bigint[], %s::text[]) as s (id, status)"
        " where o.id = s.id and o.finished_at is null and o.job_status is distinct from s.status",
        ([pair[0] for pair in pairs], [pair[1] for pair in pairs]),
    )


async def remember(tx: Any, operation_id: int, key: str, text: str) -> None:
    """Keep a text with an operation for its later steps."""
    await tx.run(
        "update operation set arguments = arguments || jsonb_build_object(%s, %s::text)"
        " where id = %s and finished_at is null",
        (key, text, operation_id),
    )


async def end_step(tx: Any, operation: Operation, result: str, message: str) -> None:
    """Write down how the job of the present step ended."""
    await tx.run(
        "update operation_step set finished_at = now(), result = %s, message = %s"
        " where operation_id = %s and step = %s and attempt = %s and finished_at is null",
        (result, message, operation.id, operation.step, operation.attempt),
    )


async def end_job(tx: Any, operation: Operation, job: Job | None) -> None:
    """Write down how the job of the present step ended; what its owner is not told is kept too.

    :param job: None: nobody knows.
    """
    if job is None:
        await end_step(tx, operation, "unknown", "")
        return
    await end_step(tx, operation, str(job.status), job.owner_message)
    if job.short:
        await remember(tx, operation.id, INSIDE, job.message)


async def close_operation(tx: Any, operation_id: int, end: str, reason: str) -> bool:
    """Close an operation; its secrets' reference goes with it.

    :return: False when it was closed already.
    """
    return bool(
        await tx.run(
            "update operation set state = %s, reason = %s, finished_at = now(),"
            " progress = case when %s = 'succeeded' then 100 else progress end,"
            " arguments = arguments - 'config_token'"
            " where id = %s and finished_at is null",
            (end, reason, end, operation_id),
        )
    )
