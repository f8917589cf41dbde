"""``snf-manage port-list``, ``floating-ip-list`` and ``ip-list``."""

from __future__ import annotations

import json
from typing import Any

from cyclades_tx.testing import builders


async def test_ports_and_floating_ips_are_listed_with_their_server(manage: Any, world: Any) -> None:
    """By user, project, server, network and address; by the name or the id of each."""
    database = world.database
    who = await builders.somebody(database)
    server = await builders.a_server(
        database, who, await builders.a_flavor(database), name="web",
        cluster=await builders.a_cluster(database),
    )  # fmt: skip
    inside = await builders.a_network(database, "inside", project_id=who.project_id)
    outside = await builders.a_network(database, "outside", cidr="192.0.2.0/24", external=True)
    port = await builders.a_port(database, server, inside, "10.0.0.7")
    await builders.a_floating_ip(database, who, outside, "192.0.2.9", port)
    for option in (f"--project={who.project_id}", f"--server={server.id}", "--server=web",
                   "--network=inside", f"--user={who.user_id}"):  # fmt: skip
        said = await manage("port-list", option, "--output-format", "json")
        assert said.code == 0, said.err
        listed = [each["fixed_ips"] for each in json.loads(said.out)]
        expected = ["10.0.0.7"] if "inside" in option else ["10.0.0.7", "192.0.2.9"]
        assert listed == expected, option
    said = await manage("floating-ip-list", "--address", "192.0.2.9", "-o", "address,server")
    assert said.out.split()[-2:] == ["192.0.2.9", str(server.id)]
    assert (await manage("floating-ip-list", "--address=1.2.3.4", "--no-headers")).out == ""


async def test_who_had_an_address_when_is_listed(manage: Any, world: Any) -> None:
    """Also when the server is gone: the oldest first."""
    database = world.database
    who = await builders.somebody(database)
    await database.run(
        "insert into address_history (address, network_id, server_id, user_id, project_id,"
        " taken_at, released_at) values"
        " ('192.0.2.9', 7, 41, %(user)s, %(project)s, '2026-01-01', '2026-02-01'),"
        " ('192.0.2.9', 7, 42, %(user)s, %(project)s, '2026-02-02', null),"
        " ('192.0.2.8', 7, 42, %(user)s, %(project)s, '2026-02-02', null)",
        {"user": who.user_id, "project": who.project_id},
    )
    said = await manage("ip-list", "--address", "192.0.2.9", "--output-format", "json")
    assert said.code == 0, said.err
    rows = json.loads(said.out)
    assert [(each["server"], each["active"]) for each in rows] == [(41, False), (42, True)]
    assert rows[0]["released_at"].startswith("2026-02-01")
    for moment, server in (
        ("2026-01-31T23:00", 41),
        ("2026-02-01T12:00", None),
        ("2026-03-01T12:00+02:00", 42),
        ("2025-12-31", None),
    ):
        said = await manage("ip-list", "--address=192.0.2.9", "--at", moment, "-o", "server",
                            "--no-headers")  # fmt: skip
        assert said.out.split() == ([] if server is None else [str(server)]), moment
    for moment in ("yesterday", "2026-02-30", "", "now()", "2026-01-01T00:00:00\x1b[2J"):
        said = await manage("ip-list", "--at", moment)
        assert said.code == 2
        assert "\x1b" not in said.err
    active = await manage("ip-list", "--filter-by", "active=true", "-o", "address", "--no-headers")
    assert sorted(active.out.split()) == ["192.0.2.8", "192.0.2.9"]
