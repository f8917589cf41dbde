"""The numbers for Prometheus, and the reactor's lag."""

from __future__ import annotations

import re
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher

from cyclades_tx.lag import LagSampler
from cyclades_tx.metrics import MAX_CLUSTERS, Metrics, OpenOperations, PoolUse


@pytest.fixture
def clock() -> Clock:
    """The time of a test."""
    return Clock()


@pytest.fixture
def metrics(clock: Clock) -> Metrics:
    """Metrics without those of this process."""
    return Metrics(clock, process=False)


async def numbers(metrics: Metrics, clock: Clock) -> dict[str, float]:
    """Every series by its name and labels, freshly scraped."""
    clock.advance(2)
    text = (await metrics.text()).decode()
    return {
        name: float(value) for name, value in re.findall(r"^([a-z].*) (\S+)$", text, re.MULTILINE)
    }


async def test_requests_are_counted_by_service_method_and_class(
    metrics: Metrics, clock: Clock
) -> None:
    """Never by path or user."""
    for status in (200, 202, 404):
        metrics.request("compute", "GET", status, 0.003)
    shown = await numbers(metrics, clock)
    assert shown['cyclades_requests_total{method="GET",service="compute",status="2xx"}'] == 2
    assert shown['cyclades_requests_total{method="GET",service="compute",status="4xx"}'] == 1
    assert shown['cyclades_request_seconds_bucket{le="0.005",service="compute"}'] == 3


async def test_invented_methods_share_one_series(metrics: Metrics, clock: Clock) -> None:
    """A stranger cannot fill the memory with methods of his own."""
    for number in range(100):
        metrics.request("compute", f"M{number}", 405, 0.001)
    shown = await numbers(metrics, clock)
    assert [
        value for name, value in shown.items() if name.startswith("cyclades_requests_total")
    ] == [100]


async def test_exchanges_with_a_cluster_are_timed_and_errors_counted(
    metrics: Metrics, clock: Clock
) -> None:
    """By the kind of the error."""
    metrics.rapi("g1", 0.02)
    metrics.rapi("g1", 0.2, error="unavailable")
    shown = await numbers(metrics, clock)
    assert shown['cyclades_rapi_seconds_count{cluster="g1"}'] == 2
    assert shown['cyclades_rapi_errors_total{cluster="g1",error="unavailable"}'] == 1


async def test_clusters_beyond_the_bound_share_one_series(metrics: Metrics, clock: Clock) -> None:
    """The number of series stays bounded."""
    for number in range(MAX_CLUSTERS + 50):
        metrics.rapi(f"g{number}", 0.02)
    shown = await numbers(metrics, clock)
    assert shown['cyclades_rapi_seconds_count{cluster="other"}'] == 50


async def test_open_operations_are_those_of_the_last_look(metrics: Metrics, clock: Clock) -> None:
    """A kind that has none any more is gone."""
    metrics.operations([OpenOperations("create", "running", 3, 12.5)])
    metrics.operations([OpenOperations("delete", "pending", 1, 2.0)])
    shown = await numbers(metrics, clock)
    assert shown['cyclades_operations_open{kind="delete",state="pending"}'] == 1
    assert shown['cyclades_operations_oldest_seconds{kind="delete",state="pending"}'] == 2.0
    assert not any('kind="create"' in name for name in shown)


async def test_the_pool_is_asked_at_each_scrape(metrics: Metrics, clock: Clock) -> None:
    """So that nothing has to count along."""
    now = PoolUse(open=4, busy=1, waiting=0)
    metrics.watch_pool(lambda: now)
    assert (await numbers(metrics, clock))["cyclades_pool_busy"] == 1
    now = PoolUse(open=4, busy=4, waiting=7)
    shown = await numbers(metrics, clock)
    assert (shown["cyclades_pool_open"], shown["cyclades_pool_waiting"]) == (4, 7)


async def test_transactions_are_timed_by_name(metrics: Metrics, clock: Clock) -> None:
    """So that the slow one can be told."""
    metrics.database("transaction", "server.create", 0.25)
    shown = await numbers(metrics, clock)
    assert shown['cyclades_database_seconds_sum{kind="transaction",name="server.create"}'] == 0.25


async def test_logins_are_counted_by_outcome(metrics: Metrics, clock: Clock) -> None:
    """A wave of refused ones is an attack."""
    metrics.login("refused")
    assert (await numbers(metrics, clock))['cyclades_logins_total{outcome="refused"}'] == 1


async def test_what_is_read_before_a_scrape_is_in_it(metrics: Metrics, clock: Clock) -> None:
    """Such as the open operations, from the database."""

    async def refresh() -> None:
        metrics.operations([OpenOperations("create", "running", 1, 1.0)])

    metrics.before_scrape("operations", refresh)
    shown = await numbers(metrics, clock)
    assert shown['cyclades_operations_open{kind="create",state="running"}'] == 1


async def test_a_source_that_fails_costs_its_numbers_only(
    metrics: Metrics, clock: Clock, logged_errors: Any
) -> None:
    """The others are shown, and the failure is counted."""

    async def refresh() -> None:
        raise ValueError("no database")

    metrics.before_scrape("operations", refresh)
    metrics.login("accepted")
    shown = await numbers(metrics, clock)
    assert shown['cyclades_logins_total{outcome="accepted"}'] == 1
    assert shown['cyclades_scrape_errors_total{source="operations"}'] == 1
    assert len(logged_errors.flush(ValueError)) == 1


async def test_a_source_that_never_answers_is_given_up(metrics: Metrics, clock: Clock) -> None:
    """A scrape always ends; others who wait for it get the same. It is told once, in a line."""
    mute = True

    async def refresh() -> None:
        if mute:
            await Deferred()

    metrics.before_scrape("operations", refresh)
    first = Deferred.fromCoroutine(metrics.text())
    second = Deferred.fromCoroutine(metrics.text())
    assert not first.called
    clock.advance(2)
    assert b"cyclades_scrape_errors_total" in await first
    assert await second == await first
    told = []

    def observe(event: LogEvent) -> None:
        if event.get("log_format") == "metrics.delayed":
            told.append((event["source"], event["reason"]))

    globalLogPublisher.addObserver(observe)
    try:
        for _ in range(3):
            clock.advance(2)
            again = Deferred.fromCoroutine(metrics.text())
            clock.advance(2)
            await again
        assert told == []
        mute = False
        clock.advance(2)
        await metrics.text()
        mute = True
        clock.advance(2)
        again = Deferred.fromCoroutine(metrics.text())
        clock.advance(2)
        await again
    finally:
        globalLogPublisher.removeObserver(observe)
    assert told == [("operations", "no answer in 2 seconds")]


async def test_the_text_is_kept_for_a_second(metrics: Metrics, clock: Clock) -> None:
    """Many scrapers cost no more than one."""
    first = await metrics.text()
    metrics.login("accepted")
    clock.advance(0.9)
    assert await metrics.text() is first
    clock.advance(0.2)
    assert await metrics.text() != first


async def test_two_services_in_one_process_count_apart(clock: Clock) -> None:
    """No registry is global."""
    one, other = Metrics(clock, process=False), Metrics(clock, process=False)
    one.login("accepted")
    assert 'cyclades_logins_total{outcome="accepted"}' not in await numbers(other, clock)


async def test_the_process_tells_its_memory(clock: Clock) -> None:
    """And its descriptors, from the kernel."""
    shown = await numbers(Metrics(clock), clock)
    assert shown["process_resident_memory_bytes"] > 1_000_000
    assert shown["process_open_fds"] > 0


async def test_the_worst_lag_is_forgotten_after_two_minutes(metrics: Metrics, clock: Clock) -> None:
    """It is shown for at least one, so that no scrape misses it."""
    metrics.lag(0.5)
    clock.advance(61)
    metrics.lag(0.01)
    assert (await numbers(metrics, clock))["cyclades_reactor_lag_worst_seconds"] == 0.5
    clock.advance(58)
    assert (await numbers(metrics, clock))["cyclades_reactor_lag_worst_seconds"] == 0.01


async def test_the_worst_lag_of_a_silent_hour_is_nothing(metrics: Metrics, clock: Clock) -> None:
    """Old samples do not come back."""
    metrics.lag(0.5)
    clock.advance(3600)
    assert (await numbers(metrics, clock))["cyclades_reactor_lag_worst_seconds"] == 0


def test_a_punctual_reactor_has_no_lag(clock: Clock) -> None:
    """Ten samples in a second."""
    seen: list[float] = []
    sampler = LagSampler(clock, seen.append)
    sampler.startService()
    clock.pump([0.1] * 10)
    sampler.stopService()
    assert seen == pytest.approx([0.0] * 10)


def test_a_reactor_that_was_busy_shows_its_lag(clock: Clock) -> None:
    """A timer of 0.1 seconds that fires after 0.14."""
    seen: list[float] = []
    sampler = LagSampler(clock, seen.append)
    sampler.startService()
    clock.advance(0.14)
    sampler.stopService()
    assert seen == [pytest.approx(0.04)]


def test_a_sampler_that_was_stopped_leaves_no_timer(clock: Clock) -> None:
    """Stopping twice is no error."""
    sampler = LagSampler(clock, [].append)
    sampler.startService()
    sampler.stopService()
    sampler.stopService()
    assert clock.getDelayedCalls() == []


async def test_drift_is_counted_by_kind_and_what_is_open_is_shown_as_it_is(
    metrics: Metrics, clock: Clock
) -> None:
    """What is over is no longer open, and stays counted."""
    metrics.drift("found", "stale", 3)
    metrics.drift("mended", "stale", 2)
    metrics.drift_open([("stale", "record", 1), ("orphan", "operator", 4)])
    metrics.drift_open([("orphan", "operator", 4)])
    seen = await numbers(metrics, clock)
    assert seen['cyclades_drift_found_total{kind="stale"}'] == 3
    assert seen['cyclades_drift_mended_total{kind="stale"}'] == 2
    assert seen['cyclades_drift_open{kind="orphan",remedy="operator"}'] == 4
    assert 'cyclades_drift_open{kind="stale",remedy="record"}' not in seen


async def test_messages_and_queues_are_told(metrics: Metrics, clock: Clock) -> None:
    """Outcomes are counted, depths are set, delays are in a histogram."""
    metrics.messages("q", "stored", 3)
    metrics.messages("q", "stored", 2)
    metrics.messages("q", "unreadable", 0)
    metrics.queue("q", 7, 1)
    metrics.queue("q", 5, 2)
    metrics.event_delays([0.02, 2.0])
    seen = await numbers(metrics, clock)
    assert seen['cyclades_messages_total{outcome="stored",queue="q"}'] == 5
    assert 'cyclades_messages_total{outcome="unreadable",queue="q"}' not in seen
    assert seen['cyclades_queue_messages{queue="q"}'] == 5
    assert seen['cyclades_dead_letters{queue="q"}'] == 2
    assert seen["cyclades_event_delay_seconds_count"] == 2
    assert seen['cyclades_event_delay_seconds_bucket{le="0.05"}'] == 1
