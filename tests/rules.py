"""Rules of routers, as the tests' processes make them: many, and soon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from werkzeug.routing import Rule


def build_urls_later() -> None:
    """Let werkzeug compile what builds the URL of a route when one is built first.

    Nobody builds any. For each of the hundreds of routes that took half a millisecond: most of
    what a start of the service takes of the processor, and the tests start it hundreds of times.
    """
    compiled = Rule._compile_builder

    def later(rule: Rule, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        made: list[Callable[..., tuple[str, str]]] = []

        def build(self: Rule, *arguments: Any, **named: Any) -> tuple[str, str]:
            if not made:
                made.append(compiled(rule, append_unknown))
            return made[0](self, *arguments, **named)

        return build

    Rule._compile_builder = later  # type: ignore[method-assign]
