"""A login at Keystone v3: a token for the Object Storage, and where its account is.

The token is kept until shortly before it ends, or until the Object Storage refuses it.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.interfaces import IReactorTime

from cyclades_tx.errors import ConfigError, Unavailable
from cyclades_tx.image_store.together import Together

#: So long before its end a token is not used any more.
_SPARE_SECONDS = 300.0
#: A token whose end is not told is renewed after this.
_USUAL_SECONDS = 1800.0

#: Sends a request: method, URL, headers, body; returns status, headers in small letters, body.
Send = Callable[
    [str, str, Mapping[str, str], bytes], Awaitable[tuple[int, Mapping[str, str], bytes]]
]


@dataclass(frozen=True)
class Login:
    """Who we are at Keystone, in its words.

    :ivar auth_url: its URL, ending in ``/v3``.
    :ivar secret: the password, or that of the application credential.
    :ivar application_credential_id: empty: a user with a password and a project.
    :ivar region: of the Object Storage; empty: the only one, or the first.
    :ivar interface: which of its addresses: ``public``, ``internal`` or ``admin``.
    """

    auth_url: str
    secret: str = field(repr=False)
    username: str = ""
    user_domain: str = "Default"
    project: str = ""
    project_domain: str = "Default"
    application_credential_id: str = ""
    region: str = ""
    interface: str = "public"

    def body(self) -> bytes:
        """What Keystone is told (Identity API v3, ``POST /v3/auth/tokens``)."""
        if self.application_credential_id:
            credential = {"id": self.application_credential_id, "secret": self.secret}
            identity: Any = {
                "methods": ["application_credential"],
                "application_credential": credential,
            }
            return json.dumps({"auth": {"identity": identity}}).encode()
        user = {
            "name": self.username,
            "domain": {"name": self.user_domain},
            "password": self.secret,
        }
        identity = {"methods": ["password"], "password": {"user": user}}
        project = {"name": self.project, "domain": {"name": self.project_domain}}
        return json.dumps({"auth": {"identity": identity, "scope": {"project": project}}}).encode()


@dataclass(frozen=True)
class Session:
    """A token and where it is good.

    :ivar url: of the account, without a slash at its end.
    :ivar ends: when the token is not used any more, by our clock.
    """

    token: str = field(repr=False)
    url: str
    ends: float


class Keystone:
    """Logs in when that is needed, one login at a time.

    :param now: the time in seconds of POSIX.
    """

    def __init__(self, clock: IReactorTime, login: Login, send: Send) -> None:
        self._clock = clock
        self._login = login
        self._send = send
        self._session: Session | None = None
        self._together = Together()

    async def session(self) -> Session:
        """A token that is good for now.

        :raise Unavailable: when Keystone does not answer.
        :raise ConfigError: when it refuses the login, or knows no Object Storage.
        """
        await self._together.run(self._is_needed, self._renew)
        return self._session or await self._log_in()

    def forget(self, session: Session) -> None:
        """That token was refused."""
        if self._session is session:
            self._session = None

    def _is_needed(self) -> bool:
        return self._session is None or self._clock.seconds() >= self._session.ends

    async def _renew(self) -> None:
        self._session = await self._log_in()

    async def _log_in(self) -> Session:
        url = self._login.auth_url.rstrip("/") + "/auth/tokens"
        headers = {"Content-Type": "application/json"}
        status, told, text = await self._send("POST", url, headers, self._login.body())
        if status in (400, 401, 403, 404):
            raise ConfigError(f"swift: Keystone refuses the login (status {status})")
        if status != 201:
            raise Unavailable("The store of images does not answer now.", 60)
        try:
            token = json.loads(text)["token"]
            found = told["x-subject-token"]
            base = self._account(token.get("catalog") or [])
            ends = _ends(token.get("expires_at"), self._clock.seconds())
        except (KeyError, TypeError, ValueError, AttributeError):
            raise Unavailable("The store of images does not answer now.", 60) from None
        return Session(found, base, ends)

    def _account(self, catalog: list[Any]) -> str:
        """The URL of the account, from the catalog.

        :raise ConfigError: when there is none, or the token would go there in clear.
        """
        for service in catalog:
            if service.get("type") != "object-store":
                continue
            for endpoint in service.get("endpoints") or []:
                region = endpoint.get("region_id") or endpoint.get("region") or ""
                wanted = self._login.region in ("", region)
                if wanted and endpoint.get("interface") == self._login.interface:
                    url = str(endpoint["url"]).rstrip("/")
                    if not guarded(url):
                        raise ConfigError("swift: the catalog's Object Storage is not https")
                    return url
        raise ConfigError("swift: the catalog has no Object Storage of this region and interface")


def guarded(url: str) -> bool:
    """Whether secrets may be sent to a URL: it is https, or of this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme == "https":
        return bool(host)
    if parts.scheme != "http":
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _ends(said: Any, now: float) -> float:
    """Until when a token is used; a short one for nine tenths of its life."""
    if not said:
        return now + _USUAL_SECONDS
    ends = datetime.fromisoformat(str(said))
    if ends.tzinfo is None:
        ends = ends.replace(tzinfo=UTC)
    return ends.timestamp() - min(_SPARE_SECONDS, max(ends.timestamp() - now, 0.0) / 10)
