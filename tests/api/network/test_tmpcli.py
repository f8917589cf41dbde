from __future__ import annotations
from typing import Any
from twisted.internet.utils import getProcessOutputAndValue
from cyclades_tx.testing.network_builders import *
from cyclades_tx.testing.loopback import Loopback
from cyclades_tx.store.networks import create_default_group
from cyclades_tx.store.ports import create_port
from cyclades_tx.flows.images import Images
from cyclades_tx.api.network.app import mount as m1
from cyclades_tx.api.image.app import mount as m2
async def test_cli(database: Any) -> None:
    from twisted.internet import reactor
    who = await a_member(database)
    await database.transaction(lambda tx: create_default_group(tx, who.project_id))
    n = await a_network(database, who, "10.0.0.0/24", "fd00:1::/64", name="mine")
    await a_network(database, None, "10.0.0.0/24", name="shared", shared=True)
    p = await database.transaction(lambda tx: create_port(tx, network_id=n.id, project_id=who.project_id, user_id=who.user_id, name="p1"))
    i = await Images(database).register(None, name="debian", location="x", properties={"os":"debian"}, tags=("a",))
    w = Loopback(reactor, lambda f: (m1(f, database, {}), m2(f, database)))
    t = w.identity.add(who)
    try:
        for svc, cmds in (("network", ["network list --long", "network show mine", "network show mine -f json", "network list --external", "subnet list", "subnet show "+ (await database.value("select uuid::text from subnet limit 1")), "port list", "port list --network mine --long", "port show p1", "security group list", "security group show default", "security group rule list default","floating ip list", "router list", "router list --long", "extension list --network","network agent list","subnet pool list","ip availability list","quota show --network", "network list --tags a", "network create foo", "network delete mine","availability zone list --network","network qos policy list"]),
                          ("image", ["image list", "image list --long --limit 1", "image show debian", "image list --property os=debian", "image list --tag a --sort name:asc","image member list debian", "image delete debian","image show nothing"])):
            for c in cmds:
                args = ["--os-auth-type","admin_token","--os-token",t,"--os-endpoint",f"http://127.0.0.1:{w.number}/{svc}", *c.split()]
                out, err, code = await getProcessOutputAndValue("/tmp/probe-venv/bin/openstack", args, env={"PATH":"/usr/bin:/bin","HOME":"/tmp"})
                print("==", c, code); print(out.decode()[:1800]); print(err.decode()[-600:])
    finally:
        await w.close()
    assert 0
