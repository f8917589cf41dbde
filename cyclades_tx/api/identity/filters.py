"""Reading the filters of lists; what nobody knows is ignored."""

from __future__ import annotations

from cyclades_tx.api.call import Call

_FALSE = ("0", "false", "f", "no", "n", "off")


def truth(call: Call, name: str) -> bool | None:
    """A yes or no in the query, or None when it is not there."""
    value = call.query(name)
    return None if value is None else value.strip().lower() not in _FALSE


def flag(call: Call, name: str) -> bool:
    """Whether a query has a name, with any value but a no, or without one (``?nocatalog``)."""
    # Twisted leaves names without a value out of its arguments.
    _, _, query = call.request.uri.partition(b"?")
    if name.encode() in query.split(b"&"):
        return True
    return truth(call, name) is True
