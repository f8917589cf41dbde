"""Figures with their goals, and how they are shown."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

_RULES: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<": operator.lt,
    "==": operator.eq,
}


@dataclass(frozen=True)
class Figure:
    """One figure of the report.

    :ivar rule: ``>=``, ``<`` or ``==``, between the value and the goal; empty: no goal.
    :ivar spread: the lowest and the highest value of the rounds, where there were several.
    """

    name: str
    value: float
    unit: str = ""
    rule: str = ""
    goal: float = 0.0
    spread: tuple[float, float] | None = None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one."""
        return _RULES[self.rule](self.value, self.goal) if self.rule else None

    def as_json(self) -> dict[str, Any]:
        """For the file of results."""
        return {**asdict(self), "met": self.met}


def ratio(name: str, ours: Sequence[float], other: Sequence[float], goal: float) -> Figure:
    """The best round of ours over the best one of the reference.

    What else runs on the machine only ever slows a round down, so that the best ones say most.

    :param ours: requests per second of each round.
    :param other: those of the reference in the same rounds; their ratios are the spread.
    """
    each = [mine / its for mine, its in zip(ours, other, strict=True)]
    return Figure(name, max(ours) / max(other), "", ">=", goal, (min(each), max(each)))


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def table(figures: Iterable[Figure]) -> str:
    """The figures as a table for people."""
    rows = [("figure", "value", "rounds", "goal", "verdict")]
    for figure in figures:
        spread = figure.spread
        rows.append(
            (
                figure.name,
                f"{_number(figure.value)} {figure.unit}".rstrip(),
                "" if spread is None else f"{_number(spread[0])} … {_number(spread[1])}",
                f"{figure.rule} {figure.goal:g}" if figure.rule else "",
                {True: "met", False: "MISSED", None: ""}[figure.met],
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _number(value: float) -> str:
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
