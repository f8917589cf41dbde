"""Who is told when the connection to the broker comes, goes, or is refused something."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

Observer = Callable[[bool, str], None]


class Observers:
    """Those who listen; one that fails does not keep the others from hearing."""

    log = Logger()

    def __init__(self) -> None:
        self._all: list[Observer] = []

    def add(self, observer: Observer) -> Callable[[], None]:
        """Tell an observer from now on; return a function that ends it."""
        self._all.append(observer)

        def end() -> None:
            if observer in self._all:
                self._all.remove(observer)

        return end

    def tell(self, connected: bool, why: str) -> None:
        """Call each with what is true now, and why."""
        for observer in list(self._all):
            try:
                observer(connected, why)
            except Exception:
                self.log.failure("broker.observer_failed")
