"""Query resources of a simulated cluster: fields and filters as Ganeti's luxid knows them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from cyclades_tx.ganeti.simulator.values import SimJob

Getter = Callable[[Any], Any]
Test = Callable[[Any], bool]

_NORMAL, _UNKNOWN, _UNAVAILABLE = 0, 1, 3


class QueryRefused(Exception):
    """The query cannot be run: the HTTP status and RAPI's message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def run(
    things: Iterable[Any],
    getters: Mapping[str, Getter],
    fields: Any,
    qfilter: Any,
) -> dict[str, Any]:
    """Return the reply of a query: one pair of state and value for each field of each thing."""
    if not isinstance(fields, list) or not all(isinstance(field, str) for field in fields):
        raise QueryRefused(502, "Failed to parse request: Unable to read list")
    test = compile_filter(qfilter, getters)
    columns = [getters.get(field) for field in fields]
    data = [[_pair(getter, thing) for getter in columns] for thing in things if test(thing)]
    heads = [{"name": field, "title": field, "kind": "other", "doc": ""} for field in fields]
    return {"data": data, "fields": heads}


def _pair(getter: Getter | None, thing: Any) -> list[Any]:
    if getter is None:
        return [_UNKNOWN, None]
    value = getter(thing)
    return [_UNAVAILABLE, None] if value is None else [_NORMAL, value]


def compile_filter(qfilter: Any, getters: Mapping[str, Getter]) -> Test:
    """Turn a filter into a function.

    :raise QueryRefused: 502 for one that luxid cannot parse, 500 for an unknown field.
    """
    if qfilter is None:
        return lambda thing: True
    if not isinstance(qfilter, list) or not qfilter:
        raise QueryRefused(502, "Failed to parse request: Invalid filter")
    operator, *operands = qfilter
    if operator in ("|", "&"):
        tests = [compile_filter(operand, getters) for operand in operands]
        if operator == "&":
            return lambda thing: all(test(thing) for test in tests)
        return _one_lookup(operands, getters) or (lambda thing: any(test(thing) for test in tests))
    if operator == "!" and len(operands) == 1:
        test = compile_filter(operands[0], getters)
        return lambda thing: not test(thing)
    if operator == "?" and len(operands) == 1:
        get = _getter(operands[0], getters)
        return lambda thing: bool(get(thing))
    if operator not in _COMPARE or len(operands) != 2:
        raise QueryRefused(502, f"Failed to parse request: Unknown filter operand '{operator}'")
    get = _getter(operands[0], getters)
    compare = _COMPARE[operator](operands[1])
    return lambda thing: compare(get(thing))


def _one_lookup(operands: Sequence[Any], getters: Mapping[str, Getter]) -> Test | None:
    """Make one look into a set of ``x = a or x = b or …`` (thousands, in our questions)."""
    if not operands or any(len(operand) != 3 for operand in operands):
        return None
    heads = {(operand[0], operand[1]) for operand in operands}
    if len(heads) != 1:
        return None
    ((operator, field),) = heads
    try:
        wanted = frozenset(operand[2] for operand in operands)
    except TypeError:
        return None
    get = _getter(field, getters)
    if operator in ("=", "=="):
        return lambda thing: get(thing) in wanted
    if operator == "=[]":
        return lambda thing: not wanted.isdisjoint(get(thing) or ())
    return None


def _getter(field: Any, getters: Mapping[str, Getter]) -> Getter:
    getter = getters.get(field) if isinstance(field, str) else None
    if getter is None:
        raise QueryRefused(500, f"Can't find field named '{field}'")
    return getter


def _matches(pattern: Any) -> Test:
    try:
        expression = re.compile(pattern)
    except (re.error, TypeError, RecursionError):
        raise QueryRefused(502, "Failed to parse request: bad regular expression") from None

    def test(value: Any) -> bool:
        if not isinstance(value, str):
            raise QueryRefused(
                500, f"Invalid field value used in regexp matching, expecting string: {value}"
            )
        return expression.search(value) is not None

    return test


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any], Test]:
    def make(operand: Any) -> Test:
        def test(value: Any) -> bool:
            try:
                return compare(value, operand)
            except TypeError:
                return False

        return test

    return make


_COMPARE: dict[Any, Callable[[Any], Test]] = {
    "=": lambda operand: lambda value: value == operand,
    "==": lambda operand: lambda value: value == operand,
    "!=": lambda operand: lambda value: value != operand,
    "=~": _matches,
    "=[]": lambda operand: lambda value: operand in (value or ()),
    "<": _ordered(lambda value, operand: bool(value < operand)),
    "<=": _ordered(lambda value, operand: bool(value <= operand)),
    ">": _ordered(lambda value, operand: bool(value > operand)),
    ">=": _ordered(lambda value, operand: bool(value >= operand)),
}


def plain_values(qfilter: Any, field: str) -> list[Any] | None:
    """Return the values of a filter that only says ``field = a or field = b``, else None.

    Ganeti takes such a filter on its key as a list of things to get: an instance that does
    not exist is an error then, a job that does not exist gives a row without values.
    """
    if not isinstance(qfilter, list) or not qfilter:
        return None
    parts = qfilter[1:] if qfilter[0] == "|" else [qfilter]
    values = []
    for part in parts:
        if not (isinstance(part, list) and len(part) == 3 and part[0] in ("=", "==")):
            return None
        if part[1] != field:
            return None
        values.append(part[2])
    return values


def summaries(qfilter: Any) -> list[str] | None:
    """Return the texts of a filter that only says which summaries a job may have, else None."""
    if not isinstance(qfilter, list) or not qfilter or qfilter[0] != "|":
        return None
    texts = []
    for part in qfilter[1:]:
        if not (isinstance(part, list) and part[:2] == ["=[]", "summary"] and len(part) == 3):
            return None
        if not isinstance(part[2], str):
            return None
        texts.append(part[2])
    return texts


def _stamp(seconds: float | None) -> list[int] | None:
    if seconds is None:
        return None
    whole = int(seconds)
    return [whole, int((seconds - whole) * 1_000_000)]


def _log(job: SimJob) -> list[Any]:
    lines = [[number, _stamp(at), "message", text] for number, (at, text) in enumerate(job.log, 1)]
    return [lines, *([] for _ in job.ops[1:])]


JOB: dict[str, Getter] = {
    "id": lambda job: job.id,
    "ops": lambda job: list(job.ops),
    "status": lambda job: job.status,
    "summary": lambda job: list(job.summary),
    "opstatus": lambda job: list(job.opstatus),
    "received_ts": lambda job: _stamp(job.received_at),
    "start_ts": lambda job: _stamp(job.started_at),
    "end_ts": lambda job: _stamp(job.ended_at),
    "oplog": _log,
    "opresult": lambda job: list(job.results),
}
JOB_BULK = ("id", "ops", "status", "summary", "opstatus", "received_ts", "start_ts", "end_ts")


def unknown_job(number: int, fields: Iterable[str]) -> dict[str, Any]:
    """Return what RAPI says of a job that it does not have: null everywhere."""
    return {field: number if field == "id" else None for field in fields}
