"""Ports, floating IPs and security groups, as Network's commands see them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.scenario.clients.people import Person
from tests.scenario.clients.table import for_administrators, refused, rows, supported

pytestmark = pytest.mark.xdist_group("clients")

PORT = "port create --network shared"


@rows(
    supported(
        "port create --network N P",
        "GET network/extensions/tag-ports-during-bulk-creation → GET network/extensions"
        " → POST network/ports",
    ),
    supported("port create --network N --fixed-ip F --description D P", "POST network/ports"),
    supported("port create --network N --security-group G P", "POST network/ports"),
    supported("port create --network N --no-fixed-ip P", "POST network/ports"),
    for_administrators("port create --network N --mac-address M P", "POST network/ports"),
    supported("port show P", "GET network/ports/P → GET network/ports?name=P"),
    supported("port set --name NAME --disable P", "PUT network/ports/P"),
    supported("port set --security-group G P", "PUT network/ports/P"),
    supported("port set --no-security-group P", "PUT network/ports/P"),
    supported("port unset --security-group G P", "PUT network/ports/P"),
    supported("port unset --fixed-ip F P", "PUT network/ports/P"),
    supported("port set --fixed-ip F P", "PUT network/ports/P"),
    supported("port list", "GET network/ports?fields=id"),
    supported("port list --long", "GET network/ports?fields=trunk_details"),
    supported("port list --server S", "GET network/ports?device_id=S"),
    supported("port list --network N", "GET network/ports?network_id=N"),
    supported("port list --device-owner O", "GET network/ports?device_owner=O"),
    supported("port list --fixed-ip F", "GET network/ports?fixed_ips=F"),
    supported("port list --mac-address M", "GET network/ports?mac_address=M"),
    supported("port list --name P --status S", "GET network/ports?name=P&status=S"),
    supported("port create --network N --tag T P", "POST network/ports → PUT network/ports/P/tags"),
    supported("port set --tag T P", "PUT network/ports/P/tags"),
    supported("port unset --tag T P", "PUT network/ports/P/tags"),
    supported("port list --tags T", "GET network/ports?tags=T"),
    supported("port delete P", "DELETE network/ports/P"),
)
def test_ports_from_beginning_to_end(demo: Person, admin: Person, server: str) -> None:
    """With and without addresses; changed, found by each filter, deleted."""
    made = demo.json(f"{PORT} --fixed-ip ip-address=10.77.5.1 --description d one")
    assert (made["fixed_ips"][0]["ip_address"], made["description"]) == ("10.77.5.1", "d")
    assert (made["status"], made["device_id"]) == ("DOWN", "")
    demo(f"{PORT} two")
    demo("security group create gate")
    demo(f"{PORT} --security-group gate three")
    assert demo.json(f"{PORT} --no-fixed-ip four")["fixed_ips"] == []
    mac = "aa:00:0f:00:00:77"
    demo.refused(f"{PORT} --mac-address {mac} x", why="Only an administrator can choose")
    assert admin.json(f"{PORT} --mac-address {mac} theirs")["mac_address"] == mac
    admin("port delete theirs")
    demo("port set --name uno --disable one")
    demo("port set --security-group gate uno")
    shown = demo.json("port show uno")
    assert (shown["admin_state_up"], len(shown["security_group_ids"])) == (False, 2)
    demo("port unset --security-group gate uno")
    demo("port set --no-security-group uno")
    demo("port unset --fixed-ip subnet=shared-v4,ip-address=10.77.5.1 uno")
    assert demo.json("port show uno")["fixed_ips"] == []
    demo("port set --fixed-ip subnet=shared-v4,ip-address=10.77.5.2 uno")
    shown = demo.json("port show uno")
    assert (shown["fixed_ips"][0]["ip_address"], shown["security_group_ids"]) == ("10.77.5.2", [])
    mine = ["four", "three", "two", "uno"]
    assert demo.column("port list") == ["", *mine]
    assert demo.column("port list --long") == ["", *mine]
    assert demo.column("port list --network shared") == ["", *mine]
    (attached,) = demo.json(f"port list --server {server}")
    assert attached["Status"] == "ACTIVE"
    (found,) = demo.json("port list --device-owner compute:nova") or [attached]
    assert found["ID"] == attached["ID"]
    assert demo.column("port list --fixed-ip ip-address=10.77.5.2") == ["uno"]
    assert demo.column(f"port list --mac-address {shown['mac_address']}") == ["uno"]
    assert demo.column("port list --name two --status DOWN") == ["two"]
    assert demo.json(f"{PORT} --tag red five")["tags"] == ["red"]
    demo("port set --tag blue five")
    demo("port unset --tag red five")
    assert demo.column("port list --tags blue") == ["five"]
    demo("port delete uno two three four five")
    demo("security group delete gate")
    assert demo.column("port list") == [""]


@rows(
    refused(
        "port create --network N --disable-port-security P",
        *("POST network/ports", 400, "Security of a port cannot be switched off."),
    ),
    refused(
        "port create --network N --allowed-address A P",
        *("POST network/ports", 400, "No Extension found for allowed-address-pairs"),
    ),
    refused(
        "port create --network N --extra-dhcp-option O P",
        *("POST network/ports", 400, "No Extension found for extra_dhcp_opt"),
    ),
    refused(
        "port create --network N --vnic-type direct P",
        *("POST network/ports", 400, "Ports are of the binding:vnic_type 'normal'."),
    ),
    refused(
        "port create --network N --dns-name NAME P",
        *("POST network/ports", 400, "No Extension found for dns-integration"),
    ),
    refused(
        "port create --network N --binding-profile K=V P",
        *("POST network/ports", 400, "'binding:profile' is not offered on this cloud."),
    ),
    refused(
        "port create --network N --device D P",
        *("POST network/ports", 400, "ports come to servers and leave them by Compute's"),
    ),
)
def test_ports_that_are_refused(demo: Person) -> None:
    """What interfaces at Ganeti do not have, and what Compute does."""
    demo.refused(f"{PORT} --no-security-group --disable-port-security x")
    demo.refused(f"{PORT} --allowed-address ip-address=10.77.0.99 x")
    demo.refused(f"{PORT} --extra-dhcp-option name=a,value=b x")
    demo.refused(f"{PORT} --vnic-type direct x")
    demo.refused(f"{PORT} --dns-name x x")
    demo.refused(f"{PORT} --binding-profile a=b x")
    demo.refused(f"{PORT} --device d x")
    assert demo.json("port list") == []


@rows(
    supported("floating ip create N", "POST network/floatingips"),
    supported("floating ip create --description D N", "POST network/floatingips"),
    for_administrators("floating ip create --floating-ip-address A N", "POST network/floatingips"),
    supported("floating ip list", "GET network/floatingips"),
    supported("floating ip list --long", "GET network/floatingips"),
    supported(
        "floating ip list --network N --status S --floating-ip-address A",
        "GET network/floatingips?floating_network_id=N&status=S&floating_ip_address=A",
    ),
    supported("floating ip show A", "GET network/floatingips/A → GET network/floatingips"),
    supported("floating ip set --description D A", "PUT network/floatingips/F"),
    supported(
        "floating ip create --tag T N",
        "POST network/floatingips → PUT network/floatingips/F/tags",
    ),
    supported("floating ip set --tag T A", "PUT network/floatingips/F/tags"),
    supported("floating ip unset --tag T A", "PUT network/floatingips/F/tags"),
    supported("floating ip list --tags T", "GET network/floatingips?tags=T"),
    supported("floating ip set --port P A", "PUT network/floatingips/F"),
    supported("floating ip unset --port A", "PUT network/floatingips/F"),
    supported("floating ip delete A", "DELETE network/floatingips/F"),
    refused(
        "floating ip port forwarding list A",
        *("GET network/floatingips/F/port_forwardings", 404, "The resource could not be found."),
    ),
)
def test_floating_ips(
    demo: Person, admin: Person, server: str, settled: Callable[[], None]
) -> None:
    """Reserved, described, put on a port and taken off, given back."""
    first = demo.json("floating ip create --description d public")
    address = first["floating_ip_address"]
    assert (first["status"], first["port_id"], first["router_id"]) == ("DOWN", None, None)
    second = demo.json("floating ip create --tag red public")["floating_ip_address"]
    demo(f"floating ip set --tag blue {second}")
    demo(f"floating ip unset --tag red {second}")
    assert demo.column("floating ip list --tags blue", "Floating IP Address") == [second]
    demo("floating ip delete " + demo.json("floating ip create public")["floating_ip_address"])
    demo.refused("floating ip create shared", why="is not a valid external network.")
    chosen = "floating ip create --floating-ip-address 203.0.113.77 public"
    demo.refused(chosen, why="Only an administrator can choose the address")
    assert admin.json(chosen)["floating_ip_address"] == "203.0.113.77"
    admin("floating ip delete 203.0.113.77")
    assert set(demo.column("floating ip list", "Floating IP Address")) == {address, second}
    assert len(demo.json("floating ip list --long")) == 2
    found = demo.column(
        f"floating ip list --network public --status DOWN --floating-ip-address {address}", "ID"
    )
    assert found == [first["id"]]
    demo(f"floating ip set --description e {address}")
    assert demo.json(f"floating ip show {address}")["description"] == "e"
    (port,) = demo.json(f"port list --server {server}")
    demo(f"floating ip set --port {port['ID']} {address}")
    settled()
    shown = demo.json(f"floating ip show {address}")
    assert (shown["status"], shown["port_id"]) == ("ACTIVE", port["ID"])
    demo(f"floating ip unset --port {address}")
    settled()
    assert demo.json(f"floating ip show {address}")["status"] == "DOWN"
    demo.refused(f"floating ip port forwarding list {address}")
    demo(f"floating ip delete {address} {second}")
    assert demo.json("floating ip list") == []


@rows(
    supported("security group create G", "POST network/security-groups"),
    supported("security group set --name NAME --description D G", "PUT network/security-groups/G"),
    supported(
        "security group create --tag T G",
        "POST network/security-groups → PUT network/security-groups/G/tags",
    ),
    supported("security group set --tag T G", "PUT network/security-groups/G/tags"),
    supported("security group unset --tag T G", "PUT network/security-groups/G/tags"),
    supported("security group list --tags T", "GET network/security-groups?tags=T"),
    supported("security group show G", "GET network/security-groups?name=G"),
    supported("security group list", "GET network/security-groups?fields=id"),
    supported("security group delete G", "DELETE network/security-groups/G"),
    supported(
        "security group rule create --protocol tcp --dst-port PORTS --remote-ip CIDR G",
        "POST network/security-group-rules",
    ),
    supported(
        "security group rule create --protocol icmp --icmp-type N G",
        "POST network/security-group-rules",
    ),
    supported(
        "security group rule create --remote-group G --ethertype IPv6 G",
        "POST network/security-group-rules",
    ),
    supported("security group rule create --egress G", "POST network/security-group-rules"),
    supported("security group rule list G", "GET network/security-group-rules?security_group_id=G"),
    supported(
        "security group rule list --ingress", "GET network/security-group-rules?direction=ingress"
    ),
    supported(
        "security group rule list --protocol tcp", "GET network/security-group-rules?protocol=tcp"
    ),
    supported("security group rule show R", "GET network/security-group-rules/R"),
    supported("security group rule delete R", "DELETE network/security-group-rules/R"),
)
def test_security_groups_and_their_rules(demo: Person) -> None:
    """Groups and rules are kept as they are; what is enforced stands in firewalls.md."""
    demo("security group create web")
    demo("security group set --name www --description d web")
    shown = demo.json("security group show www")
    assert (shown["description"], len(shown["rules"])) == ("d", 2)
    demo.refused("security group create default", why="Default security group already exists.")
    demo.refused("security group delete default", why="Insufficient rights for removing default")
    tcp = "--protocol tcp --dst-port 80:81 --remote-ip 192.0.2.0/24"
    rule = demo.json(f"security group rule create {tcp} www")
    assert (rule["port_range_min"], rule["port_range_max"]) == (80, 81)
    demo.refused(f"security group rule create {tcp} www", why="already exists")
    demo("security group rule create --protocol icmp --icmp-type 8 www")
    demo("security group rule create --remote-group default --ethertype IPv6 www")
    demo("security group rule create --egress --protocol udp www")
    assert len(demo.json("security group rule list www")) == 6
    identities = {each["ID"] for each in demo.json("security group rule list --ingress")}
    assert rule["id"] in identities
    (found,) = demo.json("security group rule list --protocol tcp")
    assert (found["IP Range"], found["Port Range"]) == ("192.0.2.0/24", "80:81")
    assert demo.json(f"security group rule show {rule['id']}")["protocol"] == "tcp"
    demo(f"security group rule delete {rule['id']}")
    demo("security group create --tag red tagged")
    demo("security group set --tag blue tagged")
    demo("security group unset --tag red tagged")
    assert demo.column("security group list --tags blue") == ["tagged"]
    demo("security group delete www tagged")
    assert demo.column("security group list") == ["default"]
