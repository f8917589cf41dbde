"""Errors on the wire."""

from __future__ import annotations

import json

import pytest

from cyclades_tx import errors
from cyclades_tx.api.errors import (
    HttpError,
    glance_fault,
    keystone_fault,
    neutron_fault,
    neutron_type,
    nova_fault,
    status_of,
)


class Odd(errors.Conflict):
    """A kind of conflict that no table names."""


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.BadRequest(""), 400),
        (errors.Unauthorized(""), 401),
        (errors.Forbidden(""), 403),
        (errors.NotFound(""), 404),
        (Odd(""), 409),
        (errors.TooLarge(""), 413),
        (errors.TooManyRequests("", 1), 429),
        (errors.NotSupported(""), 501),
        (errors.NoCapacity(), 503),
        (errors.Unavailable(""), 503),
        (errors.CycladesError(""), 500),
        (errors.LostLease(""), 500),
        (HttpError(418, ""), 418),
    ],
)
def test_each_error_has_a_status(error: errors.CycladesError, status: int) -> None:
    """The nearest that its kinds have."""
    assert status_of(error, "compute") == status


@pytest.mark.parametrize(
    ("service", "status"), [("compute", 403), ("network", 409), ("volume", 413), ("other", 403)]
)
def test_over_quota_is_what_each_service_s_clients_expect(service: str, status: int) -> None:
    """They differ."""
    assert status_of(errors.OverQuota(""), service) == status


def test_compute_s_fault() -> None:
    """With the time to wait where one is known."""
    body, kind = nova_fault(429, errors.TooManyRequests("later", 7))
    assert kind == "application/json"
    assert json.loads(body) == {"overLimit": {"code": 429, "message": "later", "retryAfter": "7"}}
    body, _ = nova_fault(500, errors.CycladesError("x"))
    assert json.loads(body) == {"computeFault": {"code": 500, "message": "x"}}


@pytest.mark.parametrize(
    ("status", "error", "word"),
    [
        (404, errors.NotFound("", "port"), "PortNotFound"),
        (404, errors.NotFound("", "thing"), "HTTPNotFound"),
        (409, errors.OverQuota(""), "OverQuota"),
        (409, errors.Conflict("", "IpAddressInUse"), "IpAddressInUse"),
        (409, errors.Conflict(""), "Conflict"),
        (400, errors.BadRequest("", neutron_type="InvalidInput"), "InvalidInput"),
        (400, errors.BadRequest(""), "HTTPBadRequest"),
        (503, errors.Unavailable(""), "HTTPServiceUnavailable"),
        (599, errors.Unavailable(""), "HTTPInternalServerError"),
    ],
)
def test_network_s_type(status: int, error: errors.CycladesError, word: str) -> None:
    """From which clients choose their exception."""
    assert neutron_type(status, error) == word
    body, _ = neutron_fault(status, error)
    assert json.loads(body)["NeutronError"]["type"] == word


def test_identity_s_fault() -> None:
    """With a title."""
    body, _ = keystone_fault(403, errors.Forbidden("no"))
    fault = {"code": 403, "message": "no", "title": "Forbidden"}
    assert json.loads(body) == {"error": fault}


def test_image_s_page_cannot_be_broken_out_of() -> None:
    """What a user wrote stays text."""
    body, kind = glance_fault(404, errors.NotFound("<script>'\"&"))
    assert kind.startswith("text/html")
    assert b"<h1>404 Not Found</h1>" in body
    assert b"<script>" not in body
    # As clients show it, who take the tags away and nothing more.
    assert b"&lt;script&gt;'\"&amp;" in body
