"""The bench's arithmetic: ratios, percentiles, verdicts, lag and the books of creates."""

from __future__ import annotations

import os
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from bench import client, creates, process
from bench.client import length_of, request_of
from bench.figures import Figure, percentile, ratio, table
from bench.lag import Lag

METRICS = """\
cyclades_reactor_lag_seconds_bucket{le="0.001"} %d
cyclades_reactor_lag_seconds_bucket{le="0.01"} %d
cyclades_reactor_lag_seconds_bucket{le="+Inf"} %d
cyclades_reactor_lag_worst_seconds 0.05
"""


@pytest.mark.parametrize(
    ("rule", "value", "met"),
    [(">=", 0.75, True), (">=", 0.74, False), ("<", 60, False), ("<", 59, True), ("==", 0, True)],
)
def test_a_goal_is_met_by_its_rule(rule: str, value: float, met: bool) -> None:
    """At least, less than, exactly."""
    goal = {">=": 0.75, "<": 60.0, "==": 0.0}[rule]
    assert Figure("x", value, rule=rule, goal=goal).met is met


def test_a_figure_without_a_goal_has_no_verdict() -> None:
    """It is neither met nor missed, in the table and in the file."""
    figure = Figure("memory", 70.0, "MiB")
    assert figure.as_json()["met"] is None
    assert table([figure]).splitlines()[-1] == "memory  70 MiB"


def test_a_ratio_is_of_the_best_rounds() -> None:
    """The spread shows the rounds one by one."""
    figure = ratio("x", [80.0, 40.0], [100.0, 100.0], 0.75)
    assert figure.value == 0.8
    assert figure.spread == (0.4, 0.8)
    assert figure.met


def test_a_missed_goal_is_shown() -> None:
    """In capitals."""
    assert "MISSED" in table([ratio("x", [1.0], [2.0], 0.75)])


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_percentiles_are_values_that_were_seen(share: float, value: int) -> None:
    """By nearest rank, in whatever order they come."""
    assert percentile(range(100, 0, -1), share) == value


def test_lag_is_what_came_since_the_earlier_look() -> None:
    """Of 100 new samples 90 are in the first bucket and 9 in the second."""
    lag = Lag.read(METRICS % (190, 199, 200)).since(Lag.read(METRICS % (100, 100, 100)))
    assert lag.samples == 100
    assert lag.seconds_at(0.9) == pytest.approx(0.001)
    assert lag.seconds_at(0.99) == pytest.approx(0.01)
    assert lag.seconds_at(1.0) == pytest.approx(0.05)


def test_metrics_without_lag_are_an_error() -> None:
    """Nothing is no good lag."""
    with pytest.raises(ValueError, match="lag"):
        Lag.read("cyclades_requests_total 1\n")


def test_books_that_add_up_have_nothing_lost_and_nothing_doubled() -> None:
    """Each promise has its server, and each server its instance."""
    servers = [("a", "snf-1", "active"), ("b", "snf-2", "active")]
    assert creates.compare(["a", "b"], servers, ["snf-1", "snf-2"]) == (0, 0)


@pytest.mark.parametrize(
    ("servers", "instances"),
    [
        ([("a", "snf-1", "active")], ["snf-1"]),
        ([("a", "snf-1", "active"), ("b", "snf-2", "error")], ["snf-1"]),
        ([("a", "snf-1", "active"), ("b", "snf-2", "active")], ["snf-1"]),
    ],
)
def test_a_promise_without_server_or_instance_is_lost(
    servers: list[tuple[str, str, str]], instances: list[str]
) -> None:
    """No row, a row in error, or no instance."""
    assert creates.compare(["a", "b"], servers, instances)[0] == 1


@pytest.mark.parametrize("instances", [["snf-1", "snf-1"], ["snf-1", "snf-9"]])
def test_an_instance_too_much_is_doubled(instances: list[str]) -> None:
    """On two clusters, or one that nobody was promised."""
    assert creates.compare(["a"], [("a", "snf-1", "active")], instances) == (0, 1)


def test_an_id_that_was_given_twice_is_doubled() -> None:
    """Two promises, one server."""
    assert creates.compare(["a", "a"], [("a", "snf-1", "active")], ["snf-1"]) == (0, 1)


def test_cpu_time_is_found_behind_a_strange_name() -> None:
    """A program may call itself what it likes."""
    fields = ["R"] + ["0"] * 10 + ["150", "50"] + ["0"] * 30
    ticks = os.sysconf("SC_CLK_TCK")
    assert process.cpu_seconds_of(f"1 (a ) b) {' '.join(fields)}") == 200 / ticks


def test_this_process_has_memory() -> None:
    """More than a few MiB, less than all."""
    assert 5 < process.memory_mib(os.getpid()) < 100_000


def test_an_answer_is_as_long_as_it_says() -> None:
    """Head and body; a head that is not complete has no length yet."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    assert length_of(head + b"hel") == len(head) + 5
    assert length_of(head[:20]) is None
    with pytest.raises(ValueError, match="Content-Length"):
        length_of(b"HTTP/1.1 200 OK\r\n\r\n")


def test_a_request_keeps_its_query() -> None:
    """Path, query, host and headers."""
    text = request_of("http://h:1/a?limit=2", {"X-Auth-Token": "t"})
    assert text == b"GET /a?limit=2 HTTP/1.1\r\nHost: h:1\r\nX-Auth-Token: t\r\n\r\n"


def test_a_load_without_time_waits_for_one_answer() -> None:
    """On a busy machine the first one may come after the end."""

    class Slow(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            time.sleep(0.2)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *arguments: object) -> None:
            """Nobody reads it."""

    with HTTPServer(("127.0.0.1", 0), Slow) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            said = client.run(f"http://127.0.0.1:{server.server_port}/", {}, 0.0, 1)
        finally:
            server.shutdown()
            thread.join(30)
    assert (said["requests"], said["failed"]) == (1, 0)
