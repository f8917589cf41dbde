"""The clock for timers, while the time of day is set."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclades_tx.steady import SteadyTime


class Times:
    """The time of day and a clock that nobody sets."""

    def __init__(self) -> None:
        self.wall, self.monotonic = 1000.0, 5.0
        self.steady = SteadyTime(lambda: self.wall, lambda: self.monotonic)

    def passes(self, seconds: float) -> float:
        """Let time pass; return what is shown then."""
        self.wall += seconds
        self.monotonic += seconds
        return self.steady.seconds()


def test_it_is_the_time_of_day() -> None:
    """Also when that jumps ahead."""
    times = Times()
    assert times.passes(0.0) == 1000.0
    assert times.passes(7.5) == 1007.5
    times.wall += 3600
    assert times.passes(1.0) == 4608.5


def test_when_the_time_of_day_is_set_back_it_goes_on_slowly_until_that_has_caught_up() -> None:
    """A timer takes twice as long, not an hour longer."""
    times = Times()
    times.wall -= 100
    assert times.passes(10.0) == 1005.0
    assert times.passes(100.0) == 1055.0
    assert times.passes(90.0) == 1100.0
    assert times.passes(10.0) == 1110.0 == times.wall


@given(st.lists(st.tuples(st.floats(0.0, 100.0), st.floats(-100_000.0, 100_000.0)), max_size=30))
def test_it_never_goes_back_and_never_stands_still(steps: list[tuple[float, float]]) -> None:
    """Whatever is done to the time of day."""
    times = Times()
    before = times.steady.seconds()
    for passed, jump in steps:
        times.wall += jump
        after = times.passes(passed)
        assert after >= before + passed * 0.499
        assert after >= times.wall
        before = after


_SET_BACK = """
import time
real, back = time.time, [0.0]
time.time = lambda: real() - back[0]
from twisted.internet import reactor
from cyclades_tx.steady import steady
if {steady}:
    steady(reactor)
reactor.callLater(0.2, reactor.stop)
def set_back():
    back[0] = 3600.0
reactor.callWhenRunning(set_back)
reactor.run()
"""


def test_a_reactor_whose_clock_is_set_back_by_an_hour_keeps_its_timers() -> None:
    """A process of its own: the reactor here must stay as it is."""
    done = subprocess.run(
        [sys.executable, "-c", _SET_BACK.format(steady=True)], timeout=120, check=False
    )
    assert done.returncode == 0


_PROGRAMS = """
import os, sys, time
real, back = time.time, [0.0]
time.time = lambda: real() - back[0]
from twisted.internet import reactor
later = reactor.callLater
def call_later(seconds, *call, **more):
    timer = later(seconds, *call, **more)
    if seconds == 0.25:
        back[0] = 3600.0
    return timer
reactor.callLater = call_later
def daemon(module, *said):
    options = module.Options()
    options.parseOptions(said)
    module.makeService(options)
    reactor.callLater(0.25, reactor.stop)
    reactor.run()
what, folder = sys.argv[1:]
if what == "ganeti-eventd":
    from cyclades_tx.gtools import eventd
    daemon(eventd, "--config", folder + "/eventd.toml")
elif what == "vncauthproxy":
    from cyclades_tx.console import standalone
    daemon(standalone, "--auth-file", folder + "/users")
elif what == "ganeti-progress-monitor":
    from cyclades_tx.gtools import progress
    progress.END_SECONDS = 0.25
    progress.main(["snf-1", "--config", folder + "/eventd.toml"])
else:
    from cyclades_tx.gtools import hook
    hook.SEND_SECONDS = 0.25
    hook.main(["--foreground", "--config", folder + "/eventd.toml"])
"""
_NOBODY = "nobody:$6$saltstring$" + "x" * 86 + "\n"
_POST_START = {
    "GANETI_HOOKS_PHASE": "post",
    "GANETI_HOOKS_PATH": "instance-start",
    "GANETI_INSTANCE_NAME": "snf-1",
    "GANETI_INSTANCE_NIC_COUNT": "0",
    "GANETI_MASTER": "n1.test",
}


@pytest.mark.parametrize(
    "program", ["ganeti-eventd", "vncauthproxy", "ganeti-progress-monitor", "ganeti-net-hook"]
)
def test_the_programs_beside_the_service_keep_their_timers_too(
    program: str, tmp_path: Path
) -> None:
    """Ganeti waits for the monitor and the hook, and they for a broker: no longer than usual."""
    (tmp_path / "users").write_text(_NOBODY)
    password = tmp_path / "password"
    password.touch(0o600)
    password.write_text("hush-hush\n")
    (tmp_path / "eventd.toml").write_text(
        f'[broker]\nurls = ["amqp://127.0.0.1:1"]\nusername = "u"\npassword_file = "{password}"\n'
        f'[ganeti]\ndata_folder = "{tmp_path}"\nnode_name = "n1.test"\n'
        f'[state]\nfolder = "{tmp_path}/state"\n'
    )
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAMS, program, tmp_path],
        input=b'{"type": "image-info", "messages": ["copying"]}',
        capture_output=True,
        env={**os.environ, **_POST_START},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr
