"""Networks and subnets, and the kinds of things that there are none of."""

from __future__ import annotations

import pytest

from tests.scenario.clients.people import Person
from tests.scenario.clients.table import approximated, for_administrators, refused, rows, supported

pytestmark = pytest.mark.xdist_group("clients")

NEITHER = "The resource could not be found."


@rows(
    supported("network create N", "POST network/networks"),
    supported("network create --tag T N", "POST network/networks → PUT network/networks/N/tags"),
    supported("network create --description D --mtu M N", "POST network/networks"),
    supported("network show N", "GET network/networks/N → GET network/networks?name=N"),
    supported("network set --name NAME N", "PUT network/networks/N"),
    supported("network set --tag T N", "PUT network/networks/N/tags"),
    supported("network unset --tag T N", "PUT network/networks/N/tags"),
    supported("network list", "GET network/networks"),
    supported("network list --long", "GET network/networks"),
    supported("network list --name N", "GET network/networks?name=N"),
    supported("network list --external", "GET network/networks?router:external=True"),
    supported("network list --internal", "GET network/networks?router:external=False"),
    supported("network list --share", "GET network/networks?shared=True"),
    supported(
        "network list --enable --status S", "GET network/networks?admin_state_up=True&status=S"
    ),
    supported("network list --tags T", "GET network/networks?tags=T"),
    supported("network list --not-tags T", "GET network/networks?not-tags=T"),
    supported("network list --project P", "GET network/networks?project_id=P"),
    supported("network delete N", "DELETE network/networks/N"),
)
def test_a_network_from_beginning_to_end(demo: Person) -> None:
    """Made, changed, found by each filter, deleted."""
    demo("network create --tag red plain")
    made = demo.json("network create --description mine --mtu 1400 lab")
    assert (made["description"], made["mtu"], made["router:external"]) == ("mine", 1400, False)
    demo("network create nothing")
    demo("network set --name work lab")
    demo("network set --tag green --tag blue work")
    demo("network unset --tag blue work")
    shown = demo.json("network show work")
    assert (shown["id"], shown["tags"], shown["status"]) == (made["id"], ["green"], "ACTIVE")
    mine = ["nothing", "plain", "work"]
    assert demo.column("network list") == sorted([*mine, "public", "shared"])
    (long,) = [each for each in demo.json("network list --long") if each["Name"] == "work"]
    assert (long["State"], long["Shared"], long["Tags"]) == (True, False, ["green"])
    assert demo.column("network list --name work") == ["work"]
    assert demo.column("network list --external") == ["public"]
    assert demo.column("network list --internal") == sorted([*mine, "shared"])
    assert demo.column("network list --share") == ["shared"]
    assert set(mine) <= set(demo.column("network list --enable --status ACTIVE"))
    assert demo.column("network list --tags green") == ["work"]
    assert "work" not in demo.column("network list --not-tags green")
    assert demo.column(f"network list --project {made['project_id']}") == mine
    demo("network delete work plain nothing")
    demo.refused("network show work", why="No Network found for work")


@rows(
    for_administrators(
        "network create --provider-network-type vlan --share N", "POST network/networks"
    ),
    for_administrators("network create --external N", "POST network/networks"),
    for_administrators("network set --no-share N", "PUT network/networks/N"),
    refused(
        "network create --disable N",
        *("POST network/networks", 400, "it is always true on this cloud."),
    ),
    refused(
        "network create --disable-port-security N",
        *("POST network/networks", 400, "it is always true on this cloud."),
    ),
    refused(
        "network create --availability-zone-hint Z N",
        *("POST network/networks", 400, "A network is on every cluster that needs it"),
    ),
    refused(
        "network create --transparent-vlan N", "POST network/networks", 400, "`vlan_transparent`"
    ),
)
def test_networks_of_administrators_and_what_no_network_has(demo: Person, admin: Person) -> None:
    """VLANs, shared and external networks; and what is refused in words."""
    segment = "--provider-segment 7"
    made = admin.json(f"network create --provider-network-type vlan --share {segment} office")
    assert (made["provider:network_type"], made["provider:segmentation_id"]) == ("vlan", 7)
    assert "office" in demo.column("network list --share")
    assert demo.json("network show office")["provider:network_type"] is None
    admin("network set --no-share office")
    assert "office" not in demo.column("network list")
    made = admin.json("network create --external outside")
    assert (made["router:external"], made["provider:network_type"]) == (True, "flat")
    admin("network delete office outside")
    only = "Only an administrator can"
    demo.refused("network create --external x", why=only)
    demo.refused("network create --provider-network-type vlan --share x", why=only)
    demo.refused("network create --disable x")
    demo.refused("network create --disable-port-security x")
    demo.refused("network create --availability-zone-hint z x")
    demo.refused("network create --transparent-vlan x")
    assert demo.column("network list") == ["public", "shared"]


@rows(
    supported("subnet create --network N --subnet-range CIDR S", "POST network/subnets"),
    supported(
        "subnet create --network N --ip-version 6 --ipv6-ra-mode slaac --ipv6-address-mode slaac S",
        "POST network/subnets",
    ),
    supported("subnet create --network N --gateway none --no-dhcp S", "POST network/subnets"),
    supported(
        "subnet create --network N --dns-nameserver A --allocation-pool P --host-route R S",
        "POST network/subnets",
    ),
    supported(
        "subnet create --network N --tag T S", "POST network/subnets → PUT network/subnets/S/tags"
    ),
    refused(
        "subnet create --network N --subnet-range CIDR --service-type T S",
        *("POST network/subnets", 400, "service_types cannot be set on this cloud."),
    ),
    supported("subnet set --name NAME S", "PUT network/subnets/S"),
    supported("subnet set --dns-nameserver A --gateway A S", "PUT network/subnets/S"),
    supported("subnet set --host-route R --allocation-pool P S", "PUT network/subnets/S"),
    supported("subnet set --tag T S", "PUT network/subnets/S/tags"),
    supported("subnet unset --host-route R --dns-nameserver A S", "PUT network/subnets/S"),
    supported("subnet unset --tag T S", "PUT network/subnets/S/tags"),
    supported("subnet show S", "GET network/subnets/S → GET network/subnets?name=S"),
    supported("subnet list --long", "GET network/subnets"),
    supported("subnet list --network N", "GET network/subnets?network_id=N"),
    supported("subnet list --ip-version 6", "GET network/subnets?ip_version=6"),
    supported("subnet list --subnet-range CIDR", "GET network/subnets?cidr=CIDR"),
    supported("subnet list --gateway A", "GET network/subnets?gateway_ip=A"),
    supported("subnet list --name S --tags T", "GET network/subnets?name=S&tags=T"),
    supported("subnet delete S", "DELETE network/subnets/S"),
)
def test_subnets_from_beginning_to_end(demo: Person) -> None:
    """IPv4 with everything and with nothing, IPv6; changed, found, deleted."""
    demo("network create floor")
    demo("network create bare")
    demo("network create third")
    options = "--dns-nameserver 9.9.9.9 --allocation-pool start=10.8.0.10,end=10.8.0.20"
    route = "--host-route destination=10.9.0.0/16,gateway=10.8.0.9"
    four = demo.json(
        f"subnet create --network floor --subnet-range 10.8.0.0/24 {options} {route} four"
    )
    assert four["allocation_pools"] == [{"start": "10.8.0.10", "end": "10.8.0.20"}]
    assert (four["gateway_ip"], four["dns_nameservers"]) == ("10.8.0.1", ["9.9.9.9"])
    modes = "--ip-version 6 --ipv6-ra-mode slaac --ipv6-address-mode slaac"
    six = demo.json(f"subnet create --network floor --subnet-range fd00:8::/64 {modes} six")
    assert (six["ipv6_ra_mode"], six["ip_version"]) == ("slaac", 6)
    bare = demo.json(
        "subnet create --network bare --subnet-range 10.5.0.0/24 --gateway none --no-dhcp none"
    )
    assert (bare["gateway_ip"], bare["enable_dhcp"]) == (None, False)
    demo.refused("subnet create --network floor --subnet-range 10.8.0.0/25 --service-type a:b x")
    demo.refused("subnet create --network floor --subnet-range 10.8.0.0/25 x", why="overlaps")
    plain = demo.json("subnet create --network third --subnet-range 10.6.0.0/24 plain")
    assert plain["gateway_ip"] == "10.6.0.1"
    demo("subnet delete plain")
    tagged = demo.json("subnet create --network third --subnet-range 10.6.0.0/24 --tag t tagged")
    assert tagged["tags"] == ["t"]
    demo("subnet set --name v4 four")
    demo("subnet set --dns-nameserver 1.1.1.1 --gateway 10.8.0.2 v4")
    pool = "--allocation-pool start=10.8.0.30,end=10.8.0.40"
    demo(f"subnet set --host-route destination=10.7.0.0/16,gateway=10.8.0.9 {pool} v4")
    demo("subnet set --tag blue v4")
    shown = demo.json("subnet show v4")
    assert (shown["gateway_ip"], len(shown["host_routes"])) == ("10.8.0.2", 2)
    assert sorted(shown["dns_nameservers"]) == ["1.1.1.1", "9.9.9.9"]
    assert len(shown["allocation_pools"]) == 2
    demo(
        "subnet unset --host-route destination=10.7.0.0/16,gateway=10.8.0.9"
        " --dns-nameserver 1.1.1.1 v4"
    )
    shown = demo.json("subnet show v4")
    assert (shown["tags"], shown["dns_nameservers"]) == (["blue"], ["9.9.9.9"])
    assert {"v4", "six", "none"} <= set(demo.column("subnet list --long"))
    assert demo.column("subnet list --network floor") == ["six", "v4"]
    assert demo.column("subnet list --ip-version 6") == ["six"]
    assert demo.column("subnet list --subnet-range 10.8.0.0/24") == ["v4"]
    assert demo.column("subnet list --gateway 10.8.0.2") == ["v4"]
    assert demo.column("subnet list --name v4 --tags blue") == ["v4"]
    demo("subnet unset --tag blue v4")
    assert demo.json("subnet show v4")["tags"] == []
    demo("network delete floor bare third")
    assert demo.column("subnet list --long") == ["shared-v4"]


@rows(
    supported("network agent list", "GET network/agents", "There are none."),
    supported("network service provider list", "GET network/service-providers", "There are none."),
    supported("network qos policy list", "GET network/qos/policies", "There are none."),
    supported("network rbac list", "GET network/rbac-policies", "There are none."),
    supported("address scope list", "GET network/address-scopes", "There are none."),
    refused("network qos policy create X", "POST network/qos/policies", 405, "POST is not allowed"),
    refused("address scope create X", "POST network/address-scopes", 405, "POST is not allowed"),
    refused(
        "network rbac create --type network --action access_as_shared --target-all-projects N",
        *("POST network/rbac-policies", 405, "POST is not allowed here."),
    ),
    refused("network agent show A", "GET network/agents/A", 404, "Agent a could not be found."),
    refused("network segment list", "GET network/segments", 404, NEITHER),
    refused("network trunk list", "GET network/trunks", 404, NEITHER),
    refused("network flavor list", "GET network/flavors", 404, NEITHER),
    refused("network meter list", "GET network/metering/metering-labels", 404, NEITHER),
    refused("network qos rule type list", "GET network/qos/rule-types", 404, NEITHER),
    refused("address group list", "GET network/address-groups", 404, NEITHER),
    refused("local ip list", "GET network/local_ips", 404, NEITHER),
    refused(
        "network auto allocated topology create",
        *("GET network/auto-allocated-topology/P", 404, NEITHER),
    ),
    refused(
        "default security group rule list", "GET network/default-security-group-rules", 404, NEITHER
    ),
    approximated(
        "availability zone list --network",
        "GET network/extensions/ALIAS → GET network/extensions",
        "Network has no zones of its own.",
    ),
)
def test_kinds_of_things_that_there_are_none_of(demo: Person) -> None:
    """An empty list where clients ask by themselves; 404 for services that are not offered."""
    for kind in ("agent", "service provider", "qos policy", "rbac"):
        assert demo.json(f"network {kind} list") == []
    assert demo.json("address scope list") == []
    demo.refused("network qos policy create x")
    demo.refused("address scope create x")
    demo.refused(
        "network rbac create --type network --action access_as_shared --target-all-projects shared"
    )
    demo.refused("network agent show a")
    for kind in ("segment", "trunk", "flavor", "meter", "qos rule type"):
        demo.refused(f"network {kind} list")
    demo.refused("address group list")
    demo.refused("local ip list")
    demo.refused("network auto allocated topology create")
    demo.refused("default security group rule list")
    assert demo("availability zone list --network") == ""
