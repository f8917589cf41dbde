"""The numbers for Prometheus, each declared once; one registry for each service, none global.

The number of series is bounded: paths, users and ids are never labels.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    Summary,
    generate_latest,
)
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as WaitTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from cyclades_tx.errors import CycladesError

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
#: Clusters beyond this many share one series.
MAX_CLUSTERS = 200
#: A source that takes longer is left out of this scrape.
SOURCE_TIMEOUT_SECONDS = 2.0
TEXT_LIFETIME_SECONDS = 1.0
WORST_WINDOW_SECONDS = 60.0

REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0)


@dataclass(frozen=True)
class OpenOperations:
    """The open operations of one kind and state, and the age of the oldest."""

    kind: str
    state: str
    count: int
    oldest_seconds: float


@dataclass(frozen=True)
class PoolUse:
    """The database pool at one moment: connections open and busy, callers waiting."""

    open: int
    busy: int
    waiting: int


class Metrics:
    """Everything that is counted and measured in one process.

    :param clock: the reactor, or a test's clock.
    :param process: whether to tell memory, CPU and descriptors of this process too.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, process: bool = True) -> None:
        self._clock = clock
        self.registry = registry = CollectorRegistry()
        if process:
            ProcessCollector(registry=registry)
        self._requests = Counter(
            "cyclades_requests",
            "Requests answered.",
            ("service", "method", "status"),
            registry=registry,
        )
        self._request_seconds = Histogram(
            "cyclades_request_seconds",
            "Time from a request's headers to its reply.",
            ("service",),
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self._lag = Histogram(
            "cyclades_reactor_lag_seconds",
            "How late a timer of the reactor fires.",
            buckets=LAG_BUCKETS,
            registry=registry,
        )
        self._worst_lag = Gauge(
            "cyclades_reactor_lag_worst_seconds",
            "The longest lag of the last one to two minutes.",
            registry=registry,
        )
        self._rapi_seconds = Histogram(
            "cyclades_rapi_seconds",
            "Time of one exchange with a cluster.",
            ("cluster",),
            buckets=(0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0),
            registry=registry,
        )
        self._rapi_errors = Counter(
            "cyclades_rapi_errors",
            "Exchanges with a cluster that failed.",
            ("cluster", "error"),
            registry=registry,
        )
        self._operations = Gauge(
            "cyclades_operations_open",
            "Open operations.",
            ("kind", "state"),
            registry=registry,
        )
        self._oldest = Gauge(
            "cyclades_operations_oldest_seconds",
            "Age of the oldest open operation.",
            ("kind", "state"),
            registry=registry,
        )
        self._database = Summary(
            "cyclades_database_seconds",
            "Time of database transactions, and of waiting for a connection.",
            ("kind", "name"),
            registry=registry,
        )
        self._logins = Counter("cyclades_logins", "Logins.", ("outcome",), registry=registry)
        self._messages = Counter(
            "cyclades_messages",
            "Messages of the Ganeti side, by what became of them.",
            ("queue", "outcome"),
            registry=registry,
        )
        self._event_delay = Histogram(
            "cyclades_event_delay_seconds",
            "Time from an event at a cluster, by its own clock, until its fact is stored.",
            buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 60.0, 3600.0),
            registry=registry,
        )
        self._queue_messages = Gauge(
            "cyclades_queue_messages",
            "Messages that wait in a queue.",
            ("queue",),
            registry=registry,
        )
        self._dead_letters = Gauge(
            "cyclades_dead_letters",
            "Messages of a queue that were put aside and wait for an operator.",
            ("queue",),
            registry=registry,
        )
        self._drift = {
            "found": Counter(
                "cyclades_drift_found",
                "Things found wrong between our records and the clusters.",
                ("kind",),
                registry=registry,
            ),
            "mended": Counter(
                "cyclades_drift_mended",
                "Those of them that the service has mended.",
                ("kind",),
                registry=registry,
            ),
        }
        self._drift_open = Gauge(
            "cyclades_drift_open",
            "Things that are wrong now, by what is done about them.",
            ("kind", "remedy"),
            registry=registry,
        )
        self._unpublished = Gauge(
            "cyclades_outbox_waiting",
            "Events that wait for a position, counted up to 10,000.",
            registry=registry,
        )
        self._unpublished_age = Gauge(
            "cyclades_outbox_age_seconds",
            "Age of the oldest of them.",
            registry=registry,
        )
        self._streams = Gauge(
            "cyclades_event_streams", "Event streams that are open.", registry=registry
        )
        self._streams_ended = Counter(
            "cyclades_event_streams_ended",
            "Event streams that ended: gone, slow (cut off), token or restart.",
            ("reason",),
            registry=registry,
        )
        self._scrape_errors = Counter(
            "cyclades_scrape_errors",
            "Sources that did not answer a scrape.",
            ("source",),
            registry=registry,
        )
        # Bound children are kept: finding one by its labels costs three times as much.
        self._bound_requests: dict[tuple[str, str, int], Counter] = {}
        self._bound_seconds: dict[str, Histogram] = {}
        self._clusters: dict[str, Histogram] = {}
        self._sources: dict[str, Callable[[], Awaitable[None]]] = {}
        self._silent: set[str] = set()
        self._text = b""
        self._text_at: float | None = None
        self._scrape: list[Deferred[bytes]] | None = None
        self._worst = [0.0, 0.0]
        self._worst_since = clock.seconds()
        self._worst_lag.set_function(self._worst_now)

    def request(self, service: str, method: str, status: int, seconds: float) -> None:
        """Count a request that was answered.

        :param service: ``compute``, ``identity`` …: one of the few fixed names.
        :param seconds: the time from the headers to the reply.
        """
        status_class = status // 100
        counter = self._bound_requests.get((service, method, status_class))
        if counter is None:
            known = method if method in METHODS else "other"
            counter = self._requests.labels(service, known, f"{status_class}xx")
            if known == method:
                self._bound_requests[service, method, status_class] = counter
        counter.inc()
        histogram = self._bound_seconds.get(service)
        if histogram is None:
            histogram = self._bound_seconds[service] = self._request_seconds.labels(service)
        histogram.observe(seconds)

    def rapi(self, cluster: str, seconds: float, error: str | None = None) -> None:
        """Count one exchange with a cluster.

        :param error: None when it succeeded, else ``refused``, ``unavailable`` or ``uncertain``.
        """
        histogram = self._clusters.get(cluster)
        if histogram is None:
            if len(self._clusters) >= MAX_CLUSTERS:
                cluster = "other"
            histogram = self._clusters[cluster] = self._rapi_seconds.labels(cluster)
        histogram.observe(seconds)
        if error is not None:
            self._rapi_errors.labels(cluster, error).inc()

    def database(self, kind: str, name: str, seconds: float) -> None:
        """Count one transaction or one wait for a connection.

        :param kind: ``transaction`` or ``wait``.
        :param name: the transaction's short fixed name; may be empty.
        """
        self._database.labels(kind, name).observe(seconds)

    def login(self, outcome: str) -> None:
        """Count a login: ``accepted``, ``refused`` or ``limited``."""
        self._logins.labels(outcome).inc()

    def messages(self, queue: str, outcome: str, count: int) -> None:
        """Count messages of a queue.

        :param outcome: ``stored``, ``ignored``, ``foreign``, ``unreadable`` or ``poisonous``.
        """
        if count:
            self._messages.labels(queue, outcome).inc(count)

    def event_delays(self, seconds: Iterable[float]) -> None:
        """Take how long after their events facts were stored."""
        for each in seconds:
            self._event_delay.observe(each)

    def queue(self, queue: str, waiting: int, dead: int) -> None:
        """Set how many messages wait in a queue, and how many were put aside."""
        self._queue_messages.labels(queue).set(waiting)
        self._dead_letters.labels(queue).set(dead)

    def drift(self, what: str, kind: str, count: int = 1) -> None:
        """Count what was wrong between our records and a cluster.

        :param what: ``found`` or ``mended``.
        :param kind: ``stale``, ``orphan`` …: one of the few fixed words.
        """
        self._drift[what].labels(kind).inc(count)

    def drift_open(self, rows: Iterable[tuple[str, str, int]]) -> None:
        """Set what is wrong now: kind, remedy and how often."""
        self._drift_open.clear()
        for kind, remedy, count in rows:
            self._drift_open.labels(kind, remedy).set(count)

    def outbox(self, lag: tuple[int, float]) -> None:
        """Set how many events wait to be published, and the age of the oldest in seconds."""
        self._unpublished.set(lag[0])
        self._unpublished_age.set(lag[1])

    def watch_streams(self, count: Callable[[], int]) -> None:
        """Tell the open event streams in each scrape; called once, with what to ask."""
        self._streams.set_function(count)

    def stream_ended(self, reason: str) -> None:
        """Count an event stream that ended: ``gone``, ``slow``, ``token`` or ``restart``."""
        self._streams_ended.labels(reason).inc()

    def lag(self, seconds: float) -> None:
        """Take a sample of the reactor's lag; given to :class:`~cyclades_tx.lag.LagSampler`."""
        self._lag.observe(seconds)
        self._turn_worst()
        self._worst[0] = max(self._worst[0], seconds)

    def operations(self, rows: Iterable[OpenOperations]) -> None:
        """Set the open operations; kinds and states that are not among them are gone."""
        self._operations.clear()
        self._oldest.clear()
        for row in rows:
            self._operations.labels(row.kind, row.state).set(row.count)
            self._oldest.labels(row.kind, row.state).set(row.oldest_seconds)

    def watch_pool(self, use: Callable[[], PoolUse]) -> None:
        """Tell the pool's use in each scrape; called once, with what to ask."""
        for name, read in (
            ("open", lambda: use().open),
            ("busy", lambda: use().busy),
            ("waiting", lambda: use().waiting),
        ):
            gauge = Gauge(
                f"cyclades_pool_{name}",
                f"Database connections or callers that are {name}.",
                registry=self.registry,
            )
            gauge.set_function(read)

    def before_scrape(self, source: str, refresh: Callable[[], Awaitable[None]]) -> None:
        """Await ``refresh()`` before each scrape, such as to read the open operations.

        :param source: a short fixed name for the log.
        """
        self._sources[source] = refresh

    async def text(self) -> bytes:
        """All numbers in Prometheus' text format; at most one second old.

        Scrapes that come at the same time share one.
        """
        now = self._clock.seconds()
        if self._text_at is not None and now - self._text_at < TEXT_LIFETIME_SECONDS:
            return self._text
        if self._scrape is not None:
            waiting: Deferred[bytes] = Deferred()
            self._scrape.append(waiting)
            return await waiting
        self._scrape = []
        try:
            for source, refresh in self._sources.items():
                await self._refresh(source, refresh)
            self._text = generate_latest(self.registry)
            self._text_at = self._clock.seconds()
        finally:
            others, self._scrape = self._scrape, None
            for other in others:
                if not other.called:
                    other.callback(self._text)
        return self._text

    async def _refresh(self, source: str, refresh: Callable[[], Awaitable[None]]) -> None:
        async def work() -> None:
            await refresh()

        try:
            await Deferred.fromCoroutine(work()).addTimeout(SOURCE_TIMEOUT_SECONDS, self._clock)
        except (CycladesError, WaitTimeout) as error:
            # Something outside does not answer: told once, however often it is asked.
            self._scrape_errors.labels(source).inc()
            if source not in self._silent:
                self._silent.add(source)
                reason = f"no answer in {SOURCE_TIMEOUT_SECONDS:g} seconds"
                reason = error.message if isinstance(error, CycladesError) else reason
                self.log.warn("metrics.delayed", source=source, reason=reason)
        except Exception:
            self._scrape_errors.labels(source).inc()
            self.log.failure("metrics.failed", Failure(), source=source)
        else:
            self._silent.discard(source)

    def _turn_worst(self) -> None:
        now = self._clock.seconds()
        if now - self._worst_since >= WORST_WINDOW_SECONDS:
            stale = now - self._worst_since >= 2 * WORST_WINDOW_SECONDS
            self._worst = [0.0, 0.0 if stale else self._worst[0]]
            self._worst_since = now

    def _worst_now(self) -> float:
        self._turn_worst()
        return max(self._worst)
