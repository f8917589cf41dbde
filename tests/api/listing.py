"""What the tests share that compare lists with plain models: odd data, and rows of it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread, deferToThread

#: How many examples each list gets, unless a profile of Hypothesis says more.
EXAMPLES = 50

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

#: Names that somebody's quoting, sorting or matching may stumble over.
ODD_TEXTS = (
    "", "a", "A", "ab", "B", "b", "é", "e\u0301", "Ω", "\U0001f980", "\uffff", "%", "_", "a%", "'",
    '"', "\\", "a\\b", "a b", " a", "a+b", "[", "^a$", ".*", "(", "1", "10", "9", "null", "{}",
    "a,b", "a&b=c", "%s", "%%s", "{values}", "{0}", "<b>", "ＡＢ", "ß", "\t", "a\nb",
)  # fmt: skip

texts = st.sampled_from(ODD_TEXTS)
minutes = st.integers(0, 3)


def uuid_of(kind: str, number: int) -> str:
    """An id that is the same in every run, and whose order tells nothing."""
    return str(uuid5(NAMESPACE_OID, f"{kind} {number}"))


def at(minute: int) -> datetime:
    """A time that several things may have."""
    return NOON + timedelta(minutes=minute)


def second(moment: datetime) -> str:
    """A time as documents show it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


async def put(tx: Any, table: str, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows, all with the same columns, their ids among them, in one statement."""
    if not rows:
        return
    columns = ", ".join(rows[0])
    await tx.run(
        f"insert into {table} ({columns}) overriding system value"
        f" select {columns} from jsonb_populate_recordset(null::{table}, %s::jsonb)",
        (json.dumps(rows, default=str),),
    )


def examples() -> int:
    """How many examples there are: more of them find rarer faults."""
    # Hypothesis chooses "ci" by itself where there is one.
    usual = settings.get_current_profile_name() in ("default", "ci")
    return EXAMPLES if usual else settings.default.max_examples


async def for_many(
    check: Callable[..., Coroutine[Any, Any, None]], *strategies: st.SearchStrategy[Any]
) -> None:
    """Run a check with many examples; Hypothesis waits for each in a thread of its own."""
    from twisted.internet import reactor

    @settings(
        max_examples=examples(),
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.tuples(*strategies))
    def each(example: tuple[Any, ...]) -> None:
        blockingCallFromThread(reactor, lambda: Deferred.fromCoroutine(check(*example)))

    await deferToThread(each)


def same(asked: Any, there: list[Any], wanted: list[Any]) -> None:
    """Check that a list is what the model says; tell what was asked, and the first difference."""
    pairs = itertools.zip_longest(there, wanted)
    differences = [pair for pair in pairs if pair[0] != pair[1]]
    assert not differences, (asked, *differences[0])
