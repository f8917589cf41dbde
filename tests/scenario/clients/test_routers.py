"""Routers, which are objects that say what is tied; nothing else routes for them."""

from __future__ import annotations

import pytest

from tests.scenario.clients.people import Person
from tests.scenario.clients.table import approximated, refused, rows, supported

pytestmark = pytest.mark.xdist_group("clients")

GATEWAY = "A gateway is noted, and has no addresses: floating IPs need no router."


@rows(
    supported("router create R", "POST network/routers"),
    supported("router create --tag T R", "POST network/routers → PUT network/routers/R/tags"),
    refused("router create --ha R", "POST network/routers", 400, "'ha' is not offered"),
    refused(
        "router create --distributed R", "POST network/routers", 400, "'distributed' is not offered"
    ),
    approximated(
        "router set --external-gateway N R",
        "GET network/extensions/external-gateway-multihoming → GET network/extensions"
        " → PUT network/routers/R",
        GATEWAY,
    ),
    refused(
        "router set --external-gateway N --fixed-ip F R",
        *("PUT network/routers/R", 400, "The gateway of a router has no addresses on this cloud."),
    ),
    refused(
        "router set --route ROUTE R",
        *("PUT network/routers/R", 400, "A subnet's host_routes are told to its machines"),
    ),
    refused(
        "router add route --route ROUTE R",
        *("PUT network/routers/R/add_extraroutes", 404, "The resource could not be found."),
    ),
    supported("router set --name NAME --disable R", "PUT network/routers/R"),
    supported("router set --tag T R", "PUT network/routers/R/tags"),
    supported("router unset --tag T R", "PUT network/routers/R/tags"),
    supported("router show R", "GET network/routers?name=R → GET network/ports?device_id=R"),
    supported("router list", "GET network/routers"),
    supported("router list --long", "GET network/routers → GET network/extensions"),
    supported("router list --name R", "GET network/routers?name=R"),
    supported("router list --tags T", "GET network/routers?tags=T"),
    supported("router unset --external-gateway R", "PUT network/routers/R"),
    supported("router delete R", "DELETE network/routers/R"),
)
def test_routers(demo: Person) -> None:
    """Tied to the external network, changed, found, deleted."""
    demo("router create r")
    demo.refused("router create --ha x")
    demo.refused("router create --distributed x")
    demo("router create --tag red tagged")
    demo("router set --external-gateway public r")
    demo.refused("router set --external-gateway public --fixed-ip ip-address=203.0.113.9 r")
    demo.refused("router set --route destination=10.9.0.0/24,gateway=10.77.0.9 r")
    demo.refused("router add route --route destination=10.9.0.0/24,gateway=10.77.0.9 r")
    demo("router set --name rr --disable r")
    demo("router set --tag blue tagged")
    demo("router unset --tag red tagged")
    shown = demo.json("router show rr")
    assert shown["external_gateway_info"]["external_fixed_ips"] == []
    assert (shown["admin_state_up"], shown["interfaces_info"]) == (False, [])
    assert demo.column("router list") == ["rr", "tagged"]
    long = {each["Name"]: each["External gateway info"] for each in demo.json("router list --long")}
    assert (long["rr"]["enable_snat"], long["tagged"]) == (True, None)
    assert demo.column("router list --name rr") == ["rr"]
    assert demo.column("router list --tags blue") == ["tagged"]
    demo("router unset --external-gateway rr")
    assert demo.json("router show rr")["external_gateway_info"] is None
    demo("router delete rr tagged")
    assert demo.json("router list") == []
