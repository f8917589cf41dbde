"""What the commands that reconcile share: an option for each kind of fix, and for the wait."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def fix_options(words: Iterable[str], helps: Mapping[str, str]) -> Callable[[F], F]:
    """Options ``--fix-WORD``, in this order; the command gets them as ``fix_WORD``.

    :param helps: what each of them does.
    """

    def added(function: F) -> F:
        for word in reversed(list(words)):
            option = click.option(
                f"--fix-{word}", f"fix_{word.replace('-', '_')}", is_flag=True, help=helps[word]
            )
            function = option(function)
        return function

    return added


def wait_option(what: str) -> Callable[[F], F]:
    """The option ``--wait-seconds``.

    :param what: is waited for.
    """
    return click.option(
        "--wait-seconds",
        type=click.FloatRange(0, 3600),
        default=60.0,
        show_default=True,
        help=f"How long to wait for {what}.",
    )
