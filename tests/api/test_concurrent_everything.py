"""64 clients of four projects do whatever comes to their mind with each other's things."""

from __future__ import annotations

import random
from typing import Any

from cyclades_tx.flows.value_pools import ValuePools
from cyclades_tx.testing import builders
from cyclades_tx.testing.network_builders import a_network
from tests.api.application import CLIENTS, Answer, Application, Somebody, together

NETWORK = "/network/v2.0"
SERVERS = "/compute/v2.1/servers"
TURNS = 8
#: What a request may come to when others are quicker. 503: the pool of prefixes is empty.
ANSWERS = {200, 201, 202, 204, 400, 403, 404, 409, 412, 503}


class Project:
    """What clients of one project do, and what they have made.

    :ivar known: the ids of everything, by the path of its collection; others may have deleted it.
    """

    def __init__(
        self, application: Application, who: Somebody, shared: str, outside: str, server: Any
    ) -> None:
        self._application = application
        self._who = who
        self._shared = shared
        self._outside = outside
        self._template = server
        self.known: dict[str, list[str]] = {
            path: []
            for path in (
                "networks",
                "subnets",
                "ports",
                "floatingips",
                "security-groups",
                "servers",
            )
        }
        self.answers: dict[tuple[str, int], int] = {}

    async def act(self, chance: random.Random) -> None:
        """Do something."""
        name = chance.choice(
            ("network", "subnet", "port", "port", "ports", "floating", "server", "server", "group",
             "rename", "readdress", "regroup", "tag", "list", "delete", "delete", "delete")
        )  # fmt: skip
        await getattr(self, f"_{name}")(chance)

    async def empty(self) -> None:
        """Delete everything, in an order in which nothing is in use."""
        for path in ("servers", "floatingips", "ports", "subnets", "networks", "security-groups"):
            await together(self._remove(path, uuid) for uuid in sorted(set(self.known[path])))

    async def _send(self, method: str, path: str, body: Any = None) -> Answer:
        answer = await self._application.ask(self._who, method, path, body)
        assert answer.status in ANSWERS, (method, path, body, answer)
        if answer.status == 503:
            assert answer.json["NeutronError"]["type"] == "NoNetworkAvailable", answer
        noun = "servers" if path.startswith(SERVERS) else path.split("/")[3].partition("?")[0]
        key = (f"{method} {noun}", answer.status)
        self.answers[key] = self.answers.get(key, 0) + 1
        return answer

    async def _post(self, path: str, noun: str, body: dict[str, Any]) -> None:
        answer = await self._send("POST", f"{NETWORK}/{path}", {noun: body})
        if answer.status == 201:
            self.known[path].append(answer.json[noun]["id"])

    async def _network(self, chance: random.Random) -> None:
        await self._post("networks", "network", {"name": "n"})

    async def _subnet(self, chance: random.Random) -> None:
        cidr = chance.choice(("10.1.0.0/29", "10.2.0.0/28", "fd00:1::/64"))
        body = {"network_id": self._any("networks", chance), "cidr": cidr}
        body["ip_version"] = 6 if ":" in cidr else 4
        await self._post("subnets", "subnet", body)

    async def _port(self, chance: random.Random) -> None:
        await self._post("ports", "port", {"network_id": self._net(chance)})

    async def _ports(self, chance: random.Random) -> None:
        bodies = [{"network_id": self._net(chance)} for _ in range(3)]
        answer = await self._send("POST", f"{NETWORK}/ports", {"ports": bodies})
        if answer.status == 201:
            self.known["ports"] += [port["id"] for port in answer.json["ports"]]

    async def _floating(self, chance: random.Random) -> None:
        await self._post("floatingips", "floatingip", {"floating_network_id": self._outside})

    async def _server(self, chance: random.Random) -> None:
        nets = [{"uuid": self._net(chance)} for _ in range(chance.randrange(3))]
        if chance.random() < 0.3:
            nets.append({"port": self._any("ports", chance)})
        body = {"server": {**self._template, "networks": nets or "none"}}
        answer = await self._send("POST", SERVERS, body)
        if answer.status == 202:
            self.known["servers"].append(answer.json["server"]["id"])

    async def _group(self, chance: random.Random) -> None:
        await self._post("security-groups", "security_group", {"name": "g"})

    async def _rename(self, chance: random.Random) -> None:
        path, noun = chance.choice(
            (("networks", "network"), ("subnets", "subnet"), ("ports", "port"))
        )
        uuid = self._any(path, chance)
        await self._send("PUT", f"{NETWORK}/{path}/{uuid}", {noun: {"name": "other"}})

    async def _readdress(self, chance: random.Random) -> None:
        fixed = [{"subnet_id": self._any("subnets", chance)}]
        body = {"port": {"fixed_ips": fixed if chance.random() < 0.5 else []}}
        await self._send("PUT", f"{NETWORK}/ports/{self._any('ports', chance)}", body)

    async def _regroup(self, chance: random.Random) -> None:
        groups = [self._any("security-groups", chance)] * chance.randrange(2)
        body = {"port": {"security_groups": groups}}
        await self._send("PUT", f"{NETWORK}/ports/{self._any('ports', chance)}", body)

    async def _tag(self, chance: random.Random) -> None:
        path = chance.choice(("networks", "subnets"))
        uuid = self._any(path, chance)
        await self._send("PUT", f"{NETWORK}/{path}/{uuid}/tags", {"tags": ["a", "b"]})

    async def _list(self, chance: random.Random) -> None:
        path = chance.choice(
            (f"{NETWORK}/ports?limit=3", f"{SERVERS}/detail", f"{NETWORK}/networks")
        )
        await self._send("GET", path)

    async def _delete(self, chance: random.Random) -> None:
        path = chance.choice(sorted(self.known))
        await self._remove(path, self._any(path, chance))

    async def _remove(self, path: str, uuid: str) -> None:
        base = SERVERS if path == "servers" else f"{NETWORK}/{path}"
        await self._send("DELETE", f"{base}/{uuid}")

    def _any(self, path: str, chance: random.Random) -> str:
        return chance.choice(self.known[path] or ["00000000-0000-4000-8000-000000000000"])

    def _net(self, chance: random.Random) -> str:
        return self._shared if chance.random() < 0.3 else self._any("networks", chance)


async def test_everything_at_once_ends_in_right_books(application: Application) -> None:
    """No request fails but for reasons that its sender may hear, and all can be given back."""
    database = application.database
    await ValuePools(database).create("mac_prefix", "aa:00:0", 40)
    flavor, image = await builders.a_flavor(database), await builders.an_image(database)
    await builders.a_cluster(database)
    shared = await a_network(database, None, "10.9.0.0/27", shared=True, everywhere=False)
    outside = await a_network(
        database, None, "192.0.2.0/28", external=True, floating_ip_pool=True, everywhere=False
    )
    template = {"name": "s", "flavorRef": flavor.uuid, "imageRef": image.uuid}
    projects = [
        Project(
            application,
            await application.somebody(vm=20, private=8, floating_ip=5),
            str(shared.uuid),
            str(outside.uuid),
            template,
        )
        for _ in range(4)
    ]

    async def client(number: int) -> None:
        chance = random.Random(number)
        for _ in range(TURNS):
            await projects[number % 4].act(chance)

    await together(client(number) for number in range(CLIENTS))
    await application.books_are_right()
    for project in projects:
        await project.empty()
    assert await database.value("select count(*) from server where deleted_at is null") == 0
    left = "select count(*) from network where deleted_at is null and project_id is not null"
    assert await database.value(left) == 0
    # What was done at all, so that this does not come to test nothing.
    done = {name for project in projects for name, status in project.answers if status < 300}
    assert done >= {
        "POST networks", "POST subnets", "POST ports", "POST floatingips", "POST servers",
        "POST security-groups", "PUT ports", "DELETE networks", "DELETE ports",
    }  # fmt: skip
    await application.books_are_right()
