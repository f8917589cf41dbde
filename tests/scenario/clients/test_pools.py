"""Subnet pools, how full networks are, and interfaces of routers."""

from __future__ import annotations

import pytest

from tests.scenario.clients.people import Person
from tests.scenario.clients.table import approximated, for_administrators, refused, rows, supported

pytestmark = pytest.mark.xdist_group("clients")

NO_ROUTES = "No cluster routes between private and public networks."


@rows(
    supported(
        "subnet pool create --pool-prefix P --default-prefix-length N --default-quota N POOL",
        "POST network/subnetpools",
    ),
    for_administrators("subnet pool create --share --default POOL", "POST network/subnetpools"),
    supported("subnet pool create --tag T POOL", "PUT network/subnetpools/P/tags"),
    supported("subnet pool list --long", "GET network/subnetpools"),
    supported("subnet pool list --default", "GET network/subnetpools?is_default=True"),
    supported(
        "subnet pool show POOL", "GET network/subnetpools/P → GET network/subnetpools?name=POOL"
    ),
    supported("subnet pool set --pool-prefix P --name NAME POOL", "PUT network/subnetpools/P"),
    supported("subnet pool set --tag T POOL", "PUT network/subnetpools/P/tags"),
    supported(
        "subnet pool list --no-share --name P", "GET network/subnetpools?shared=False&name=P"
    ),
    supported("subnet pool unset --tag T POOL", "PUT network/subnetpools/P/tags"),
    supported("subnet pool delete POOL", "DELETE network/subnetpools/P"),
    supported("subnet create --subnet-pool POOL --prefix-length N S", "POST network/subnets"),
    supported("subnet create --use-default-subnet-pool --ip-version 6 S", "POST network/subnets"),
    supported("subnet list --subnet-pool POOL", "GET network/subnets?subnetpool_id=P"),
    supported("ip availability list", "GET network/network-ip-availabilities"),
    supported("ip availability show N", "GET network/network-ip-availabilities/N"),
)
def test_subnets_are_cut_from_pools(demo: Person, admin: Person) -> None:
    """Of a project's own pool and of the default one."""
    made = demo.json(
        "subnet pool create --pool-prefix 10.32.0.0/16 --default-prefix-length 24"
        " --default-quota 1024 --tag mine tens"
    )
    assert (made["prefixes"], made["tags"]) == (["10.32.0.0/16"], ["mine"])
    admin("subnet pool create --share --default --pool-prefix fd32::/48 sixes")
    demo("network create floor")
    first = demo.json("subnet create --network floor --subnet-pool tens --prefix-length 25 four")
    assert first["cidr"] == "10.32.0.0/25"
    second = demo.json("subnet create --network floor --use-default-subnet-pool --ip-version 6 six")
    assert second["cidr"] == "fd32::/64"
    assert demo.column("subnet list --subnet-pool tens") == ["four"]
    assert demo.column("subnet pool list --long") == ["sixes", "tens"]
    assert demo.column("subnet pool list --default") == ["sixes"]
    demo("subnet pool set --pool-prefix 10.33.0.0/16 --name more tens")
    demo("subnet pool set --tag ours more")
    assert demo.column("subnet pool list --no-share --name more") == ["more"]
    demo("subnet pool unset --tag mine --tag ours more")
    shown = demo.json("subnet pool show more")
    assert (shown["prefixes"], shown["tags"]) == (["10.32.0.0/15"], [])
    (full,) = [
        each for each in demo.json("ip availability list") if each["Network Name"] == "floor"
    ]
    assert full["Used IPs"] == 0
    assert demo.json("ip availability show floor")["network_name"] == "floor"
    demo.refused("subnet pool delete more", why="existing allocations")
    demo("network delete floor")
    demo("subnet pool delete more")
    admin("subnet pool delete sixes")


@rows(
    approximated(
        "router add subnet R S",
        "PUT network/routers/R/add_router_interface",
        "A network that the hosts route; any other is refused.",
    ),
    supported("router remove subnet R S", "PUT network/routers/R/remove_router_interface"),
    refused("router add port R P", "PUT network/routers/R/add_router_interface", 409, NO_ROUTES),
)
def test_routed_network_is_tied_to_a_router(demo: Person, admin: Person) -> None:
    """One that an administrator has made for the project; elsewhere the reason is told."""
    admin("network create --provider-network-type ip_less_routed --project demo routed")
    demo("subnet create --network routed --subnet-range 10.34.0.0/24 gate")
    demo("router create tie")
    demo("router add subnet tie gate")
    (interface,) = demo.json("router show tie")["interfaces_info"]
    assert interface["ip_address"] == "10.34.0.1"
    demo.refused("router delete tie", why="still has ports")
    demo("router remove subnet tie gate")
    demo.refused("router remove subnet tie gate", why="has no interface on")
    demo("network create closed")
    demo("subnet create --network closed --subnet-range 10.4.0.0/24 closed")
    demo.refused("router add subnet tie closed", why=NO_ROUTES)
    demo.refused("router add subnet tie shared-v4", why="belongs to another project")
    demo("port create --network closed plug")
    demo.refused("router add port tie plug")
    demo("port delete plug")
    demo("router delete tie")
    demo("network delete routed closed")
