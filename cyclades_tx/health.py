"""Whether the service is well: what its admin port checks and counts when it is asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from cyclades_tx.errors import Unavailable
from cyclades_tx.metrics import Metrics, OpenOperations
from cyclades_tx.store import clusters, drift_findings, operations, outbox, upkeep
from cyclades_tx.store.migrations import check_schema

#: How long an event may wait to be published before something is wrong.
EVENT_PATIENCE_SECONDS = 30.0
#: How long a cluster may be without a process that drives it, and an operation open after its time.
DRIVER_PATIENCE_SECONDS = 60.0
OPERATION_PATIENCE_SECONDS = 120.0

Check = Callable[[], Awaitable[Any]]


class Health:
    """Looks at the database for the admin port.

    :param streams: how many event streams are open in this process.
    """

    def __init__(self, database: Any, metrics: Metrics, streams: Callable[[], int]) -> None:
        self._database = database
        self._metrics = metrics
        self._streams = streams

    def checks(self) -> dict[str, Check]:
        """The checks by their names; each raises with the reason when something is wrong."""
        checks = {
            "database": self._answers,
            "schema": self._schema,
            "clusters": self._clusters,
            "loops": self._loops,
            "events": self._events,
        }
        return {name: partial(self._when_reached, check) for name, check in checks.items()}

    def watch(self) -> None:
        """Count anew before each scrape of the metrics."""
        self._metrics.before_scrape("operations", self._count_operations)
        self._metrics.before_scrape("drift", self._count_drift)
        self._metrics.before_scrape("outbox", self._count_events)

    async def _when_reached(self, check: Check) -> Any:
        if self._database.trouble:
            why = " ".join(self._database.trouble.split())
            raise Unavailable(f"The database cannot be reached: {why}")
        return await check()

    async def _answers(self) -> None:
        if self._database.shortage:
            raise Unavailable(f"The database was short of something: {self._database.shortage}")
        # On where a standby has not taken over yet, and where an operator has said so.
        if await self._database.value("select current_setting('transaction_read_only')") == "on":
            raise Unavailable("The database answers, and takes no changes: it is read-only now.")

    async def _schema(self) -> None:
        await check_schema(self._database)

    async def _clusters(self) -> None:
        rows = await self._database.all(
            "select name, unreachable_reason from cluster where reachable = false and not offline"
        )
        if rows:
            raise Unavailable("; ".join(f"{row.name}: {row.unreachable_reason}" for row in rows))

    async def _loops(self) -> None:
        wrong = [
            f"no process drives {name}"
            for name in await clusters.undriven(self._database, DRIVER_PATIENCE_SECONDS)
        ]
        late = await operations.overdue(self._database, OPERATION_PATIENCE_SECONDS)
        if late.number:
            wrong.append(
                f"{late.number} operations are past their deadline, the oldest ({late.id})"
                f" for {late.seconds:.0f} seconds"
            )
        if wrong:
            raise Unavailable("; ".join(wrong) + ".")

    async def _events(self) -> dict[str, Any]:
        lag = await outbox.lag(self._database)
        if lag.age_seconds > EVENT_PATIENCE_SECONDS:
            raise Unavailable(
                f"{lag.waiting} events wait to be published, the oldest for"
                f" {lag.age_seconds:.0f} seconds."
            )
        return {
            "waiting": lag.waiting,
            "age_seconds": lag.age_seconds,
            "streams": self._streams(),
        }

    async def _count_operations(self) -> None:
        rows = await self._database.all(
            "select kind, state, count(*) as count,"
            " extract(epoch from now() - min(created_at))::float8 as oldest"
            " from operation where finished_at is null group by kind, state"
        )
        self._metrics.operations(
            OpenOperations(row.kind, row.state, row.count, row.oldest) for row in rows
        )

    async def _count_drift(self) -> None:
        servers = await drift_findings.open_ones(self._database)
        self._metrics.drift_open([*servers, *await upkeep.open_ones(self._database)])

    async def _count_events(self) -> None:
        self._metrics.outbox(await outbox.lag(self._database))
