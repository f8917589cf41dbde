"""The whole API on the loopback, and two projects that each have one of everything."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import treq
from twisted.web.client import HTTPConnectionPool

from cyclades_tx import app
from cyclades_tx.api.events import Streams
from cyclades_tx.api.site import ApiSite
from cyclades_tx.flows.value_pools import ValuePools
from cyclades_tx.identity.catalog import Catalog
from cyclades_tx.identity.tokens import hash_of, new_token
from cyclades_tx.model.who import Who
from cyclades_tx.sections import EventsSection
from cyclades_tx.store import operator_tokens
from cyclades_tx.store.networks import create_default_group
from cyclades_tx.testing import builders
from tests.loops.cloud import Cloud

#: What changes because somebody asks who is who.
UNCOUNTED = ("token", "login_attempt", "process")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB7Nq5l4Vn1rJ0Qx3k1N8vU2o0mC4f6o1mB7y2w8Kc3d"
#: So many servers has each project: whoever begins to change one has it for the rest of a test.
SERVERS = 6
MEMBER_ROLE = "a0000000000000000000000000000002"


@dataclass
class Side:
    """A project with its user.

    :ivar ids: what it has, by the name that a path gives it (of Network's things: the noun).
    :ivar names: words that nobody else's things have in them.
    """

    mark: str
    who: Who
    token: str
    ids: dict[str, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    servers: list[str] = field(default_factory=list)

    def words(self) -> set[str]:
        """Everything that would tell of it."""
        public = (
            *("alias", "class_id", "hypervisor_id", "role_id", "tag", "name", "key"),
            "type_id",
        )
        known = {value for name, value in self.ids.items() if name not in public}
        return known | self.names | set(self.servers)


class TwoProjects:
    """A service, a project, a second one that the first must never learn of, an administrator."""

    def __init__(self, reactor: Any, folder: Path, dsn: str) -> None:
        self.cloud = Cloud(reactor, folder, dsn, "[console]\nviewer_port = 5900\n")
        self.database = self.cloud.database
        self._pool = HTTPConnectionPool(reactor)

    async def start(self) -> None:
        """Listen, and furnish the projects."""
        cloud = self.cloud
        await cloud.equip()
        pools = ValuePools(self.database)
        await pools.create("mac_prefix", "aa:00:0", 4000)
        await pools.create("bridge", "prv", 4000)
        self.frame = app.api(cloud.world, ("api", "vmapi"))
        self.streams = Streams(cloud.reactor, self.database, cloud.world.identity, EventsSection())
        self.streams.mount(self.frame)
        site = ApiSite(self.frame.resource(), cloud.world.config.server.max_body_bytes)
        self._port = cloud.reactor.listenTCP(0, site, interface="127.0.0.1")
        self.base = f"http://127.0.0.1:{self._port.getHost().port}"
        self.zone = await self.database.first("select id, uuid, name from cluster limit 1")
        self.outside = await builders.a_network(
            self.database, "outside", cidr="203.0.113.0/24", external=True, shared=True
        )
        await self.database.run(
            "insert into allocation_pool (subnet_id, first_address, last_address) select id,"
            " '203.0.113.2', '203.0.113.250' from subnet where cidr = '203.0.113.0/24'"
        )
        await self.database.run(
            "insert into free_address_range (subnet_id, first_address, last_address) select id,"
            " '203.0.113.2', '203.0.113.250' from subnet where cidr = '203.0.113.0/24'"
        )
        catalog = Catalog(cloud.world.config.public_url)
        self.things: dict[str, str] = {
            "domains": "default",
            "services": catalog.services()[0]["id"],
            "endpoints": catalog.endpoints()[0]["id"],
            "regions": catalog.region,
        }
        self.admin = await self._side("chief", "admin")
        self.mine = await self._side("mine")
        self.theirs = await self._side("theirs")
        for number, side in enumerate((self.mine, self.theirs)):
            await self._furnish(side, f"192.168.{number}.0/24")

    async def stop(self) -> None:
        """End everything."""
        self.streams.stop()
        await self._pool.closeCachedConnections()
        await self._port.stopListening()
        await self.cloud.close()

    async def _side(self, mark: str, role: str = "member") -> Side:
        who = await self.cloud.somebody(role)
        project_id = who.project_id or ""
        token = new_token()
        await self.database.run(
            "insert into role_assignment (user_id, project_id, role_id)"
            " select %s, %s, id from role where name = %s",
            (who.user_id, project_id, role),
        )
        await self.database.run(
            "update holding set maximum = null where project_id = %s", (project_id,)
        )
        await self.database.transaction(lambda tx: create_default_group(tx, project_id))
        assert await operator_tokens.issue(
            self.database, hash_of(token), who.user_id, project_id, "password", uuid4().hex[:22],
            3600.0,
        )  # fmt: skip
        side = Side(mark, who, token)
        side.ids = {"project_id": project_id, "user_id": who.user_id}
        side.names = {who.user_name}
        return side

    async def ask(self, side: Side, method: str, path: str, body: Any = None) -> Any:
        """Send a request that must succeed; its document."""
        response = await treq.request(
            method, self.base + path, json=body, pool=self._pool, timeout=60,
            headers={"X-Auth-Token": side.token, "OpenStack-API-Version": "compute 2.96"},
        )  # fmt: skip
        text = await response.content()
        assert response.code < 300, (method, path, response.code, text)
        return await response.json() if text else None

    async def _furnish(self, side: Side, cidr: str) -> None:
        """Give a project one of everything, by its own requests where there are some."""
        cloud, who, ids = self.cloud, side.who, side.ids

        async def make(path: str, kind: str, **wanted: Any) -> str:
            found = await self.ask(side, "POST", path, {kind: wanted})
            return str(found[kind]["id"])

        network = await make("/network/v2.0/networks", "network", name=f"{side.mark}-network")
        ids["network"] = network
        ids["empty_network"] = await make("/network/v2.0/networks", "network")
        ids["subnet"] = await make(
            "/network/v2.0/subnets", "subnet", name=f"{side.mark}-subnet", network_id=network,
            ip_version=4, cidr=cidr,
        )  # fmt: skip
        for kind, more in (
            ("router", {}),
            ("subnetpool", {"prefixes": ["10.64.0.0/16"]}),
            ("floatingip", {"floating_network_id": self.outside.uuid}),
            ("security_group", {}),
        ):
            named = {} if kind == "floatingip" else {"name": f"{side.mark}-{kind}"}
            path = f"/network/v2.0/{kind.replace('_', '-')}s"
            ids[kind] = await make(path, kind, **named, **more)
        ids["security_group_rule"] = await make(
            "/network/v2.0/security-group-rules", "security_group_rule",
            security_group_id=ids["security_group"], direction="ingress", protocol="tcp",
        )  # fmt: skip
        ids["image"] = await self._image(side)
        flavor = await builders.a_flavor(
            self.database, f"{side.mark}-flavor", public=False, template="file",
            specs={"hw:x": "1"}, access=(who.project_id or "",),
        )  # fmt: skip
        ids["flavor_id"] = flavor.uuid
        for number in range(SERVERS):
            server = await builders.a_server(
                self.database, who, flavor, name=f"{side.mark}-server", image=cloud.image,
                cluster=builders.Row(self.zone.id, str(self.zone.uuid)), charge="on",
                metadata={"x": f"{side.mark}-metadata"}, tags=("x",), node="node1",
                launched_at="2026-01-01T00:00:00Z",
                state="active" if number % 2 == 0 else "stopped",
            )  # fmt: skip
            side.servers.append(server.uuid)
        ids["server_id"] = server.uuid
        await self.database.run(
            "update holding set used = %s where project_id = %s and resource = 'cyclades.vm'",
            (SERVERS, who.project_id),
        )
        row = await self.database.first("select id from network where uuid = %s", (network,))
        port = await builders.a_port(
            self.database, server, builders.Row(row.id, network), cidr.replace(".0/24", ".77")
        )
        ids["port_id"] = ids["port"] = port.uuid
        ids["request_id"] = f"req-{uuid4()}"
        await builders.an_operation(
            self.database, server, builders.Row(self.zone.id, ""), "start", state="succeeded",
            request_id=ids["request_id"],
        )  # fmt: skip
        ids["group_id"] = await make(
            "/compute/v2.1/os-server-groups", "server_group", name=f"{side.mark}-group",
            policy="affinity",
        )  # fmt: skip
        await self.ask(
            side, "POST", "/compute/v2.1/os-keypairs",
            {"keypair": {"name": f"{side.mark}-key", "public_key": KEY}},
        )  # fmt: skip
        ids["credential_id"] = await make(
            f"/identity/v3/users/{who.user_id}/application_credentials",
            "application_credential",
            name=f"{side.mark}-credential",
        )
        await self._store(side, server.id)
        for kind in ("network", "subnet"):
            await self.ask(side, "PUT", f"/network/v2.0/{kind}s/{ids[kind]}/tags/{side.mark}-tag")
        side.names |= {
            f"{side.mark}-{noun}"
            for noun in ("network", "subnet", "router", "subnetpool", "security_group", "image",
                         "flavor", "server", "metadata", "group", "key", "credential", "tag",
                         "volume", "transfer")
        }  # fmt: skip

    async def _store(self, side: Side, server_id: int) -> None:
        """Three volumes: one as it was made, one that a server has, one that is offered."""
        made = []
        for _ in range(3):
            wanted = {"size": 1, "name": f"{side.mark}-volume", "metadata": {"x": "y"}}
            found = await self.ask(side, "POST", "/volume/v3/volumes", {"volume": wanted})
            made.append(str(found["volume"]["id"]))
        side.ids["volume_id"], side.ids["attachment"], offered = made
        await self.database.run(
            "update volume set status = 'in_use', server_id = %s, position = 1, initialised = true"
            " where uuid = %s::uuid",
            (server_id, side.ids["attachment"]),
        )
        transfer = {"volume_id": offered, "name": f"{side.mark}-transfer"}
        found = await self.ask(
            side, "POST", "/volume/v3/os-volume-transfer", {"transfer": transfer}
        )
        side.ids["transfer_id"] = found["transfer"]["id"]
        side.ids["auth_key"] = found["transfer"]["auth_key"]
        side.ids["type_id"] = str(
            await self.database.value("select uuid from volume_type order by id limit 1")
        )
        await self.database.run(
            "insert into volume_type_spec select id, 'hw:x', '1' from volume_type"
            " order by id limit 1 on conflict do nothing"
        )

    async def _image(self, side: Side) -> str:
        image = await builders.an_image(
            self.database, f"{side.mark}-image", project_id=side.who.project_id,
            visibility="shared",
        )  # fmt: skip
        await self.database.run(
            "insert into image_member (image_id, project_id, status) values (%s, %s, 'pending')",
            (image.id, self.admin.who.project_id),
        )
        await self.database.run(
            "insert into image_property (image_id, key, value) values (%s, 'x', '1')", (image.id,)
        )
        return image.uuid

    # What is in the database

    async def rows(self) -> dict[str, str]:
        """A digest of each table, without those that change because somebody asks."""
        tables = await self.database.all(
            "select tablename::text as name from pg_tables where schemaname = 'public'"
        )
        names = [row.name for row in tables if row.name not in UNCOUNTED]
        pieces = " union all ".join(
            f"select '{name}' as name, count(*) || ' ' || coalesce(md5(string_agg(t::text, '|'"
            f" order by t::text)), '') as digest from {name} t"
            for name in names
        )
        return {row.name: row.digest for row in await self.database.all(pieces)}

    async def rows_of(self, side: Side) -> dict[str, list[str]]:
        """Every row that belongs to a project or its user, as text: also what hangs on others."""
        conditions = await self._conditions(side)
        found = {}
        for table, condition in sorted(conditions.items()):
            sql = f"select t::text as text from {table} t where {condition} order by t::text"
            found[table] = [row.text for row in await self.database.all(sql)]
        return found

    async def _conditions(self, side: Side) -> dict[str, str]:
        values = {"project_id": side.ids["project_id"], "user_id": side.ids["user_id"]}
        direct: dict[str, set[str]] = {
            "project": {f"id = '{values['project_id']}'"},
            "user_account": {f"id = '{values['user_id']}'"},
        }
        owned = await self.database.all(
            "select table_name::text as name, column_name::text as owner"
            " from information_schema.columns where table_schema = 'public'"
            " and column_name in ('project_id', 'user_id')"
        )
        for row in owned:
            direct.setdefault(row.name, set()).add(f"{row.owner} = '{values[row.owner]}'")
        keys = await self.database.all(
            "select k.conrelid::regclass::text as child, c.attname::text as child_column,"
            " k.confrelid::regclass::text as parent, p.attname::text as parent_column"
            " from pg_constraint k"
            " join pg_attribute c on c.attrelid = k.conrelid and c.attnum = k.conkey[1]"
            " join pg_attribute p on p.attrelid = k.confrelid and p.attnum = k.confkey[1]"
            " where k.contype = 'f' and cardinality(k.conkey) = 1"
        )
        found = direct
        # A subnet hangs on its network, and a range of free addresses on its subnet.
        for _ in range(2):
            more = {table: set(each) for table, each in direct.items()}
            for key in keys:
                if key.parent in found:
                    mine = " or ".join(sorted(found[key.parent]))
                    more.setdefault(key.child, set()).add(
                        f"{key.child_column} in (select {key.parent_column} from {key.parent}"
                        f" where {mine})"
                    )
            found = more
        return {
            table: " or ".join(sorted(each))
            for table, each in found.items()
            if table not in UNCOUNTED
        }
