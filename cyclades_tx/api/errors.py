"""Errors on the wire: which status each has, and how each dialect writes a fault."""

from __future__ import annotations

from html import escape
from typing import Any

import orjson

from cyclades_tx import errors
from cyclades_tx.errors import CycladesError

_STATUS: dict[type[CycladesError], int] = {
    errors.BadRequest: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Gone: 410,
    errors.TooLarge: 413,
    errors.TooSlow: 408,
    errors.TooManyRequests: 429,
    errors.NotSupported: 501,
    errors.NoCapacity: 503,
    errors.Unavailable: 503,
}

#: What each dialect answers when a quota would be passed.
_OVER_QUOTA = {"compute": 403, "network": 409, "volume": 413, "image": 413, "cyclades": 413}


class HttpError(CycladesError):
    """A fault with a status of its own, for what only exists on the wire (405, 406, 415).

    :param headers: further headers of the reply, such as ``Allow``.
    """

    code = "http"

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message, status=status)
        self.status = status
        self.headers = headers or {}


def status_of(error: CycladesError, service: str) -> int:
    """The HTTP status that a service answers for an error; 500 for what nobody expected."""
    if isinstance(error, HttpError):
        return error.status
    if isinstance(error, errors.OverQuota):
        return _OVER_QUOTA.get(service, 403)
    for kind in type(error).__mro__:
        status = _STATUS.get(kind)
        if status is not None:
            return status
    return 500


_NOVA_KINDS = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    414: "badRequest",
    415: "badMediaType",
    422: "unprocessableEntity",
    429: "overLimit",
    431: "badRequest",
    501: "notImplemented",
    503: "serviceUnavailable",
}

_TITLES = {
    300: "Multiple Choices",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    408: "Request Timeout",
    409: "Conflict",
    410: "Gone",
    413: "Request Entity Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    416: "Range Not Satisfiable",
    422: "Unprocessable Entity",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}


def title_of(status: int) -> str:
    """The words beside a status."""
    return _TITLES.get(status, "Error")


def nova_fault(status: int, error: CycladesError) -> tuple[bytes, str]:
    """Compute's and Volume's fault: ``{"KIND": {"code", "message"}}``."""
    fault: dict[str, Any] = {"code": status, "message": error.message}
    retry = error.details.get("retry_after_seconds")
    if status in (413, 429) and retry is not None:
        fault["retryAfter"] = str(retry)
    return orjson.dumps({_NOVA_KINDS.get(status, "computeFault"): fault}), "application/json"


_NEUTRON_NOT_FOUND = {
    "network": "NetworkNotFound",
    "subnet": "SubnetNotFound",
    "port": "PortNotFound",
    "router": "RouterNotFound",
    "floatingip": "FloatingIPNotFound",
    "security_group": "SecurityGroupNotFound",
    "security_group_rule": "SecurityGroupRuleNotFound",
    "subnetpool": "SubnetPoolNotFound",
    "extension": "ExtensionNotFound",
    "tag": "TagNotFound",
}


def neutron_type(status: int, error: CycladesError) -> str:
    """The word in ``NeutronError.type``, from which clients choose their exception class."""
    named = error.details.get("neutron_type")
    if isinstance(named, str):
        return named
    if isinstance(error, errors.NotFound):
        return _NEUTRON_NOT_FOUND.get(error.kind, "HTTPNotFound")
    if isinstance(error, errors.OverQuota):
        return "OverQuota"
    if isinstance(error, errors.Conflict):
        return error.reason or "Conflict"
    return {400: "HTTPBadRequest", 401: "HTTPUnauthorized", 403: "HTTPForbidden"}.get(
        status, "HTTP" + _TITLES.get(status, "InternalServerError").replace(" ", "")
    )


def neutron_fault(status: int, error: CycladesError) -> tuple[bytes, str]:
    """Network's fault: ``{"NeutronError": {"type", "message", "detail"}}``."""
    fault = {"type": neutron_type(status, error), "message": error.message, "detail": ""}
    return orjson.dumps({"NeutronError": fault}), "application/json"


def keystone_fault(status: int, error: CycladesError) -> tuple[bytes, str]:
    """Identity's fault: ``{"error": {"code", "message", "title"}}``."""
    fault = {"code": status, "message": error.message, "title": _TITLES.get(status, "Error")}
    return orjson.dumps({"error": fault}), "application/json"


def glance_fault(status: int, error: CycladesError) -> tuple[bytes, str]:
    """Image's fault: a small HTML page, in which clients look for the text after ``<h1>``."""
    title = f"{status} {_TITLES.get(status, 'Error')}"
    page = (
        f"<html>\n <head>\n  <title>{title}</title>\n </head>\n <body>\n  <h1>{title}</h1>\n"
        f"  {escape(error.message, quote=False)}<br /><br />\n\n\n </body>\n</html>"
    )
    return page.encode(), "text/html; charset=UTF-8"
