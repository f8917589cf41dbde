"""Identity on a real wire: a site on the loopback, the real database, and cheap passwords."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
import pytest_twisted
import treq
from twisted.web.client import Agent, HTTPConnectionPool

from cyclades_tx.api.frame import Frame
from cyclades_tx.api.identity.app import mount
from cyclades_tx.api.site import ApiSite
from cyclades_tx.flows.application_credentials import ApplicationCredentials
from cyclades_tx.flows.identity import People
from cyclades_tx.identity.attempts import LoginLimits
from cyclades_tx.identity.catalog import Catalog
from cyclades_tx.identity.local import LocalIdentity
from cyclades_tx.identity.passwords import Passwords
from tests.api.wire import Later

PASSWORD = "correct horse battery"


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read."""
        return orjson.loads(self.body)

    def header(self, name: str) -> str | None:
        """One header's value."""
        values = self.headers.getRawHeaders(name)
        return values[0] if values else None


@dataclass
class Cloud:
    """The service, with an administrator, a member and a reader, and a stranger elsewhere."""

    url: str
    database: Any
    identity: LocalIdentity
    people: People
    client: treq.client.HTTPClient
    frame: Frame
    password: str = PASSWORD
    ids: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        as_: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send a request below ``/identity``.

        :param body: bytes as they are, anything else as JSON.
        :param as_: whose token is sent.
        """
        sent = {"content-type": "application/json", **(headers or {})}
        text = self.tokens[as_] if as_ is not None else token
        if text is not None:
            sent["x-auth-token"] = text
        data = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
        response = await self.client.request(
            method, f"{self.url}/identity{path}", headers=sent, data=data, timeout=30
        )
        return Answer(response.code, response.headers, await response.content())

    async def log_in(self, name: str, **scope: Any) -> Answer:
        """Log in with the password; without a scope the default project is used."""
        user = {"name": name, "domain": {"name": "Default"}, "password": self.password}
        identity = {"methods": ["password"], "password": {"user": user}}
        return await self.ask("POST", "/v3/auth/tokens", {"auth": {"identity": identity, **scope}})

    async def authenticate(self, auth: Any, **options: Any) -> Answer:
        """Log in with any ``auth`` part."""
        return await self.ask("POST", "/v3/auth/tokens", {"auth": auth}, **options)

    async def everything(self) -> list[str]:
        """All that is stored of people, as text, to see whether anything changed."""
        tables = ("project", "user_account", "role", "role_assignment", "application_credential")
        parts = " union all ".join(f"select t::text as text from {table} t" for table in tables)
        rows = await self.database.all(f"select text from ({parts}) x order by 1")
        return [row.text for row in rows]

    async def alive(self, token: str) -> bool:
        """Whether a token is taken."""
        return (await self.ask("GET", "/v3/auth/projects", token=token)).status == 200


LIMITS = LoginLimits(name_failures=5, address_failures=500, window_seconds=300)


@pytest.fixture
def limits() -> LoginLimits:
    """The limits of the service under test."""
    return LIMITS


@pytest_twisted.async_yield_fixture
async def empty_cloud(database: Any, limits: LoginLimits) -> Any:
    """The service without anybody in it."""
    from twisted.internet import reactor

    passwords = Passwords(reactor, log2n=4, threads=2)
    identity = LocalIdentity(database, reactor, passwords, limits=limits)
    identity.start()
    await database.when_listening()
    people = People(database, passwords, changed=identity.forget)
    credentials = ApplicationCredentials(database, passwords, changed=identity.forget)
    # The port is known only when the site listens, the URLs in replies before.
    port = reactor.listenTCP(0, Later(), interface="127.0.0.1")
    url = f"http://127.0.0.1:{port.getHost().port}"
    frame = Frame(reactor, identity, url)
    mount(
        frame,
        database,
        identity,
        people,
        credentials,
        Catalog(url),
        trusted_proxies=("127.0.0.1/32",),
    )
    site = ApiSite(frame.resource(), 1_048_576)
    site.startFactory()
    port.factory.site = site
    pool = HTTPConnectionPool(reactor, persistent=False)
    client = treq.client.HTTPClient(Agent(reactor, pool=pool))
    yield Cloud(url, database, identity, people, client, frame)
    await port.stopListening()
    site.stopFactory()
    await pool.closeCachedConnections()
    identity.stop()
    passwords.close()


@pytest_twisted.async_yield_fixture
async def cloud(empty_cloud: Cloud) -> Any:
    """The service with projects ``home`` and ``other``, and four people with tokens.

    ``admin``, ``demo`` (member) and ``reader`` are in ``home``, ``stranger`` (member) in ``other``.
    """
    made = empty_cloud
    people = made.people
    for name in ("home", "other"):
        made.ids[name] = await people.create_project(name)
    for name, project, role in (
        ("admin", "home", "admin"),
        ("demo", "home", "member"),
        ("reader", "home", "reader"),
        ("stranger", "other", "member"),
    ):
        project_id = made.ids[project]
        made.ids[name] = await people.create_user(name, PASSWORD, default_project_id=project_id)
        await people.assign_role(made.ids[name], project_id, role)
        answer = await made.log_in(name)
        assert answer.status == 201, answer.body
        made.tokens[name] = str(answer.header("x-subject-token"))
    yield made


@pytest.fixture
def tell(database: Any) -> Callable[..., Awaitable[Any]]:
    """Run SQL on the test's database, past every flow."""

    async def run(sql: str, *args: Any) -> Any:
        return await database.run(sql, args)

    return run
