"""Bodies that fit a JSON schema, and bodies that nearly do."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread

_JUNK = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=8), st.sampled_from(("", "\x00", "x" * 300, "９", "-1", 10**30, "null")),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)  # fmt: skip


def wait_for(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine over the reactor, and wait for it in this other thread."""
    from twisted.internet import reactor

    return blockingCallFromThread(reactor, Deferred.fromCoroutine, work)


def around(schema: Any) -> st.SearchStrategy[Any]:
    """Words that stand in queries: sensible ones, and others."""
    return st.one_of(
        st.sampled_from(("1", "0", "true", "False", "x", "", "-1", "asc", "created_at",
                         "2026-01-01T00:00:00", "99999999999999999999", "(", "[", "%", "\\1")),
        st.text(max_size=6).filter(lambda text: "\x00" not in text),
    )  # fmt: skip


def fitting(schema: dict[str, Any], components: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that fit a schema as msgspec writes them, more or less."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return st.deferred(lambda: fitting(components[name], components))
    if "anyOf" in schema:
        return st.one_of([fitting(each, components) for each in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind = schema.get("type")
    if kind == "object":
        return _object(schema, components)
    if kind == "array":
        return st.lists(fitting(schema.get("items", {}), components), max_size=2)
    return {
        "string": st.one_of(
            st.sampled_from(("x", "10", "affinity", "anti-affinity", "true", "auto")),
            st.text(max_size=8),
        ),
        "integer": st.one_of(st.integers(-2, 200), st.integers()),
        "number": st.floats(allow_nan=False, allow_infinity=False),
        "boolean": st.booleans(),
        "null": st.none(),
    }.get(str(kind), _JUNK)


def _object(schema: dict[str, Any], components: dict[str, Any]) -> st.SearchStrategy[Any]:
    properties = schema.get("properties", {})
    required = schema.get("required", ())
    known = {name: fitting(each, components) for name, each in properties.items()}
    if not known:
        more = schema.get("additionalProperties")
        values = fitting(more, components) if isinstance(more, dict) else _JUNK
        names = st.one_of(st.sampled_from(("a", "os-start", "reboot", "lock", "resize", "rebuild")),
                          st.text(max_size=5))  # fmt: skip
        return st.dictionaries(names, values, max_size=2)
    return st.fixed_dictionaries(
        {name: each for name, each in known.items() if name in required},
        optional={name: each for name, each in known.items() if name not in required},
    )


def bodies(schema: dict[str, Any], components: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Bodies that fit, those with something wrong in them, and junk."""
    right = fitting(schema, components)
    spoiled = right.flatmap(
        lambda body: st.tuples(st.just(body), st.text(max_size=4), _JUNK).map(_spoil)
    )
    return st.one_of(right, right, spoiled, _JUNK)


def _spoil(given: tuple[Any, str, Any]) -> Any:
    body, name, junk = given
    if isinstance(body, dict):
        keys = list(body)
        if keys and isinstance(body[keys[0]], dict):
            return {**body, keys[0]: {**body[keys[0]], name: junk}}
        return {**body, name: junk}
    return junk
