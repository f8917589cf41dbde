"""What PostgreSQL reads for a statement, as it tells itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench.statements import Statement

CUSTOM = "force_custom_plan"
GENERIC = "force_generic_plan"


@dataclass(frozen=True)
class Reading:
    """One run of a statement.

    :ivar rows: how many rows of each table were looked at, those too that did not fit.
    :ivar buffers: blocks of 8 KiB that were looked at.
    :ivar milliseconds: how long it ran.
    """

    rows: Counter[str]
    buffers: int
    milliseconds: float


def read(connection: Any, statement: Statement, plan: str = CUSTOM) -> Reading:
    """Run a prepared statement, and see what it reads.

    :param connection: of psycopg2, with the settings of the service's own.
    :param plan: CUSTOM: made for these arguments; GENERIC: the one for any.
    """
    slots = ", ".join(["%s"] * len(statement.arguments))
    text = statement.sql % tuple(f"${number + 1}" for number in range(len(statement.arguments)))
    with connection.cursor() as cursor:
        cursor.execute(f"set plan_cache_mode = {plan}")
        # No argument is left to fill in, and the text may have percent signs of its own.
        cursor.execute(f"prepare looked_at as {text}")
        try:
            explain = f"explain (analyze, buffers, format json) execute looked_at({slots})"
            cursor.execute(explain, statement.arguments)
            ((((root,),),),) = (cursor.fetchall(),)
        finally:
            cursor.execute("deallocate looked_at")
    rows: Counter[str] = Counter()
    for node in _nodes(root["Plan"]):
        if "Relation Name" in node:
            seen = node["Actual Rows"] + sum(
                node.get(f"Rows Removed by {why}", 0)
                for why in ("Filter", "Join Filter", "Index Recheck")
            )
            rows[node["Relation Name"]] += round(seen * node["Actual Loops"])
        elif node["Node Type"] == "Bitmap Index Scan":
            rows[node["Index Name"]] += round(node["Actual Rows"] * node["Actual Loops"])
    plan_of = root["Plan"]
    buffers = plan_of["Shared Hit Blocks"] + plan_of["Shared Read Blocks"]
    return Reading(rows, buffers, root["Execution Time"])


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)
