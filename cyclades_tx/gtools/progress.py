"""The image progress monitor: snf-image's words about the work on a disk, passed on as they come.

``ganeti-progress-monitor INSTANCE`` reads JSON objects on standard input until it ends. It
never holds up or fails the creation: a broker that is away costs a short wait at the end.
"""

from __future__ import annotations

import json
import os
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from threading import Thread
from typing import Any, NoReturn

from cyclades_tx.gtools.config import DEFAULT_PATH, Config, ConfigError
from cyclades_tx.gtools.messages import prefix
from cyclades_tx.steady import steady

#: How long the end of the work waits for the broker.
END_SECONDS = 5.0
#: The percentage is sent when so long has passed, or so much has changed.
LEAST_SECONDS = 1.0
LEAST_PERCENT = 1.0
#: An object that is longer is passed over.
MOST_CHARACTERS = 1_048_576

WRONG_USAGE = 1


class Objects:
    """JSON objects out of a stream of text, one after the other, whatever lies between them."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._characters: list[str] = []
        self._depth = 0
        self._quoted = self._escaped = False

    def feed(self, text: str) -> Iterator[dict[str, Any]]:
        """Return the objects that are complete now; what only looks like one is passed over."""
        for character in text:
            if not self._depth and character != "{":
                continue
            self._characters.append(character)
            if self._follow(character):
                whole = "".join(self._characters)
                self._begin()
                with suppress(ValueError, RecursionError):
                    yield json.loads(whole, parse_constant=_refuse)
            elif len(self._characters) > MOST_CHARACTERS:
                self._begin()

    def _follow(self, character: str) -> bool:
        """Return whether this character ends the object."""
        if self._quoted:
            self._quoted = character != '"' or self._escaped
            self._escaped = character == "\\" and not self._escaped
        elif character == '"':
            self._quoted = True
        elif character == "{":
            self._depth += 1
        elif character == "}":
            self._depth -= 1
        return not self._depth


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


class Monitor:
    """Turns objects into messages, and the stream of percentages into few of them."""

    def __init__(
        self, instance: str, offer: Callable[[str, dict[str, Any]], None], now: Callable[[], float]
    ) -> None:
        """Prepare.

        :param offer: takes a routing key and a message.
        :param now: seconds since the epoch.
        """
        self._instance = instance
        self._routing_key = f"ganeti.{prefix(instance)}.event.progress"
        self._offer = offer
        self._now = now
        self._held: dict[str, Any] | None = None
        self._sent_at = 0.0
        self._sent_percent: float | None = None

    def take(self, notification: dict[str, Any]) -> dict[str, Any]:
        """Pass a notification on, at once or with a later one; return it as it is shown."""
        now = self._now()
        seconds, fraction = divmod(now, 1)
        time_of_it = [int(seconds), int(fraction * 1_000_000)]
        message = {**notification, "event_time": time_of_it, "instance": self._instance}
        if notification.get("type") != "image-copy-progress":
            self.flush()
            self._offer(self._routing_key, message)
            return message
        percent = notification.get("progress")
        known = percent if isinstance(percent, int | float) else 0.0
        news = self._sent_percent is None or abs(known - self._sent_percent) >= LEAST_PERCENT
        if news and now - self._sent_at >= LEAST_SECONDS:
            self._held = None
            self._sent_at, self._sent_percent = now, known
            self._offer(self._routing_key, message)
        else:
            self._held = message
        return message

    def flush(self) -> None:
        """Send the percentage that was held back."""
        held, self._held = self._held, None
        if held is not None:
            self._offer(self._routing_key, held)


class _Parser(ArgumentParser):
    """snf-image knows 1 for wrong usage."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(WRONG_USAGE, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until standard input ends; return the exit code."""
    parser = _Parser(prog="ganeti-progress-monitor", description="Tell how an image is copied.")
    parser.add_argument("instance", metavar="INSTANCE", help="the instance's name in Ganeti")
    parser.add_argument("--config", default=DEFAULT_PATH, help="default: %(default)s")
    options = parser.parse_args(arguments)
    if not options.instance:
        parser.error("INSTANCE is empty")
    try:
        _run(options.instance, options.config)
    except Exception as error:
        # Whatever it is, the image must not fail for it, nor wait for a pipe that nobody empties.
        _say(f"ganeti-progress-monitor: {type(error).__name__}: {error}")
        _drain()
    return 0


def _run(instance: str, path: str) -> None:
    from twisted.internet import reactor as installed
    from twisted.internet.defer import Deferred
    from twisted.internet.threads import blockingCallFromThread

    from cyclades_tx.gtools.broker import make_broker
    from cyclades_tx.gtools.courier import Courier

    reactor: Any = installed
    steady(reactor)
    courier: Courier | None = None
    try:
        section = Config.load(path).broker
        courier = Courier(reactor, make_broker(reactor, section), section.exchange)
    except ConfigError as error:
        _say(f"ganeti-progress-monitor: nothing is sent: {error}")
    objects = Objects()
    monitor = Monitor(instance, courier.offer if courier else lambda key, message: None, time.time)

    def take(data: bytes) -> None:
        for found in objects.feed(data.decode("utf-8", "replace")):
            _say(json.dumps(monitor.take(found)))

    async def end() -> None:
        try:
            monitor.flush()
            if courier is not None:
                await courier.end(END_SECONDS)
                if courier.lost:
                    _say(f"ganeti-progress-monitor: {courier.lost} messages were not sent")
        finally:
            reactor.stop()

    def read() -> None:
        # In a thread, as the reactor would make the pipe non-blocking for snf-image as well.
        try:
            while data := os.read(sys.stdin.fileno(), 65_536):
                blockingCallFromThread(reactor, take, data)
        except Exception as error:
            _say(f"ganeti-progress-monitor: {type(error).__name__}: {error}")
            _drain()
        reactor.callFromThread(lambda: Deferred.fromCoroutine(end()))

    reactor.callWhenRunning(Thread(target=read, daemon=True).start)
    reactor.run()


def _say(text: str) -> None:
    """Write a line where Ganeti keeps it in the log of the OS script."""
    with suppress(OSError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def _drain() -> None:
    with suppress(OSError):
        while os.read(sys.stdin.fileno(), 65_536):
            pass
