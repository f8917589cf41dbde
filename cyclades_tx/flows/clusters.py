"""What an operator can ask for about clusters.

Whatever is asked of a cluster itself is asked before the transaction, never inside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from psycopg2.errors import ForeignKeyViolation, UniqueViolation
from twisted.internet.defer import Deferred, gatherResults

from cyclades_tx.errors import BadRequest, Conflict, CycladesError, NotFound
from cyclades_tx.ganeti.clusters import PASSWORD_KIND, Clusters
from cyclades_tx.ganeti.credentials import Keyring
from cyclades_tx.ganeti.interfaces import (
    GanetiError,
    GanetiRefused,
    GanetiUnavailable,
    IClusterQuestions,
)
from cyclades_tx.ganeti.tls import RapiAddress
from cyclades_tx.model.instance import Capacity, ClusterInfo
from cyclades_tx.store import cluster_changes as store
from cyclades_tx.store import clusters as rows
from cyclades_tx.store import networks

HYPERVISORS = ("kvm", "xen-pvm", "xen-hvm", "fake", "chroot", "lxc")
#: Under this id a client is kept while a cluster is looked at that is not stored like that.
_CANDIDATE = -1
_NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9.-]{0,253}[a-zA-Z0-9])?", re.ASCII)
_UNAUTHORIZED = 401
_FORBIDDEN = 403

#: A changed column of these needs a new look at the cluster and new clients.
_CREDENTIALS = (
    "name", "rapi_scheme", "rapi_host", "rapi_port", "rapi_username", "rapi_password", "certificate"
)  # fmt: skip


@dataclass(frozen=True)
class NewCluster:
    """A cluster that is to be added.

    :ivar name: as ``gnt-cluster info`` has it; also the name of the availability zone.
    :ivar host: where its RAPI listens; None: at its name.
    :ivar certificate: PEM of the one certificate to trust; None: the system's authorities.
    :ivar hypervisor: None: the cluster's default.
    """

    name: str
    username: str
    password: str = field(repr=False)
    host: str | None = None
    port: int = 5080
    scheme: str = "https"
    certificate: str | None = None
    hypervisor: str | None = None
    public: bool = True
    hotplug: bool = False


@dataclass(frozen=True)
class Look:
    """What a cluster said of itself."""

    info: ClusterInfo
    capacity: Capacity
    groups: tuple[str, ...]


@dataclass(frozen=True)
class _Row:
    """A row as it would be, for a client of it."""

    uuid: str
    name: str
    rapi_scheme: str
    rapi_host: str
    rapi_port: int
    rapi_username: str
    rapi_password: bytes = field(repr=False)
    certificate: str | None
    id: int = _CANDIDATE
    credentials_version: int = 0


class Fleet:
    """Adds, changes and removes clusters.

    :param database: an IDatabase.
    :param clients: of the clusters, for looking at them.
    :param network_deadline_seconds: how long the making of a network on one may take.
    """

    def __init__(
        self,
        database: Any,
        clients: Clusters,
        keyring: Keyring,
        *,
        network_deadline_seconds: float = 900.0,
    ) -> None:
        self._database = database
        self._clients = clients
        self._keyring = keyring
        self._network_deadline_seconds = network_deadline_seconds

    async def find(self, ref: str) -> Any:
        """A cluster by its id, UUID or name.

        :raise NotFound: when there is none.
        """
        row = None if "\0" in ref else await store.find(self._database, ref)
        if row is None:
            raise NotFound(f"There is no backend {ref[:255]}; see backend-list.", "cluster")
        return row

    async def add(self, new: NewCluster, *, check: bool = True) -> Any:
        """Add a cluster: drained, with every network being made on it.

        :param check: whether it must answer, take the credentials, and have the name.
        :return: its row.
        :raise Conflict: when there is one of that name.
        :raise GanetiError: what is wrong with address or credentials.
        """
        uuid = str(uuid4())
        wanted = _Row(
            uuid=uuid,
            name=new.name,
            rapi_scheme=new.scheme,
            rapi_host=new.host or new.name,
            rapi_port=new.port,
            rapi_username=new.username,
            rapi_password=self._keyring.encrypt(PASSWORD_KIND, uuid, new.password),
            certificate=new.certificate,
        )
        _check(wanted)
        _check_hypervisor(new.hypervisor)
        there = await store.find(self._database, new.name)
        if there is not None and there.name == new.name:
            raise _taken(new.name)
        look = await self._look(wanted, new.hypervisor) if check else None
        columns = {name: getattr(wanted, name) for name in (*_CREDENTIALS,)} | {
            "hypervisor": new.hypervisor or (_usual_hypervisor(look) if look else "kvm"),
            "public": new.public,
            "hotplug": new.hotplug,
            "drained": True,
        }

        async def work(tx: Any) -> int:
            try:
                cluster_id = await store.insert(tx, uuid, columns)
            except LookupError:
                raise Conflict(
                    f"There are {store.MOST_POSITIONS} backends already: no more can be added.",
                    "full",
                ) from None
            if cluster_id is None:
                raise _taken(new.name)
            if look is not None:
                await self._keep_look(tx, cluster_id, look)
            await rows.ensure_leases(tx)
            await networks.ensure_all_on_cluster(tx, cluster_id, self._network_deadline_seconds)
            await store.changed(tx, cluster_id)
            return cluster_id

        cluster_id = await self._database.transaction(work, "cluster.add")
        return await rows.by_id(self._database, cluster_id)

    async def modify(
        self,
        ref: str,
        changes: Mapping[str, Any],
        *,
        password: str | None = None,
        check: bool = True,
    ) -> Any:
        """Change a cluster; its driver notices at once.

        :param changes: of ``name``, ``rapi_scheme``, ``rapi_host``, ``rapi_port``,
            ``rapi_username``, ``certificate``, ``drained``, ``offline``, ``public``,
            ``hypervisor`` and ``hotplug``.
        :param password: a new one; None: the one it has.
        :param check: whether a new address or new credentials must work.
        :return: its row.
        """
        row = await self.find(ref)
        stored = dict(changes)
        _check_hypervisor(stored.get("hypervisor"))
        if password is not None:
            stored["rapi_password"] = self._keyring.encrypt(PASSWORD_KIND, str(row.uuid), password)
        touched = any(
            name in stored and (name == "rapi_password" or stored[name] != getattr(row, name))
            for name in _CREDENTIALS
        )
        look = None
        if touched:
            wanted = _Row(
                uuid=str(row.uuid),
                **{name: stored.get(name, getattr(row, name)) for name in _CREDENTIALS},
            )
            _check(wanted)
            offline = stored.get("offline", row.offline)
            if check and not offline:
                look = await self._look(wanted, stored.get("hypervisor"))
            stored["credentials_version"] = row.credentials_version + 1

        async def work(tx: Any) -> None:
            locked = await store.lock(tx, row.id)
            if locked is None:
                raise NotFound(f"Backend {ref} was removed just now.", "cluster")
            if touched and locked.credentials_version != row.credentials_version:
                raise Conflict(f"Backend {ref} was changed just now; look at it and try again.")
            await store.update(tx, row.id, stored)
            if look is not None:
                await self._keep_look(tx, row.id, look)
            if locked.offline and not stored.get("offline", True):
                await networks.ensure_all_on_cluster(tx, row.id, self._network_deadline_seconds)
            await store.changed(tx, row.id)

        try:
            await self._database.transaction(work, "cluster.modify")
        except UniqueViolation:
            raise _taken(stored["name"]) from None
        return await rows.by_id(self._database, row.id)

    async def remove(self, ref: str) -> tuple[Any, list[int]]:
        """Remove a cluster that has no servers; nothing is changed on the cluster itself.

        :return: the row that it had, and the ids of the networks that stand on it still.
        :raise Conflict: when it has servers.
        """
        row = await self.find(ref)

        async def work(tx: Any) -> list[int]:
            if await store.lock(tx, row.id) is None:
                raise NotFound(f"Backend {ref} was removed just now.", "cluster")
            number = await store.live_servers(tx, row.id)
            if number:
                raise Conflict(
                    f"Backend {row.name} still has {number} server{'s' * (number != 1)}; see"
                    f" snf-manage server-list --backend-id {row.id}",
                    "in_use",
                )
            kept = await store.kept_volumes(tx, row.id)
            if kept:
                raise Conflict(
                    f"Backend {row.name} still has the disks of {kept} volume{'s' * (kept != 1)}"
                    " that no server has.",
                    "in_use",
                )
            left = await store.networks_on(tx, row.id)
            await store.remove(tx, row.id)
            await store.changed(tx, row.id)
            return left

        left = await self._database.transaction(work, "cluster.remove")
        await self._clients.forget(row.id)
        return row, left

    async def refresh(self, ref: str | None = None) -> list[tuple[str, str]]:
        """Ask clusters for their numbers and write them down, all side by side.

        :param ref: only this one; None: every one that is not offline.
        :return: for each its name, and why it could not be asked, or "".
        """
        if ref is not None:
            row = await self.find(ref)
            if row.offline:
                raise Conflict(f"Backend {row.name} is offline: it is not spoken to.", "offline")
            wanted = [row]
        else:
            wanted = [row for row in await rows.everyone(self._database) if not row.offline]
        outcomes = await gatherResults(
            [Deferred.fromCoroutine(self._refresh(row)) for row in wanted], consumeErrors=True
        )
        return [(row.name, reason) for row, reason in zip(wanted, outcomes, strict=True)]

    async def give(self, ref: str, project_id: str) -> None:
        """Let a project use this cluster: with one of its own it uses no others.

        :raise Conflict: when it has it already.
        """
        row = await self.find(ref)
        try:
            added = await store.map_project(self._database, row.id, project_id)
        except ForeignKeyViolation:
            raise NotFound("The backend or the project was removed just now.") from None
        if not added:
            raise Conflict(f"The project has the backend {row.name} already.", "duplicate")

    async def take(self, ref: str | None, project_id: str | None) -> int:
        """Take a cluster from a project, from all its projects, or a project's from it.

        :return: how many mappings went.
        """
        if ref is None and project_id is None:
            raise BadRequest("Name a backend, a project, or both.")
        row = None if ref is None else await self.find(ref)
        return await store.unmap_project(self._database, row and row.id, project_id)

    async def _refresh(self, row: Any) -> str:
        try:
            look = await _ask(self._clients.questions(row))
        except CycladesError as error:
            await rows.set_reachable(self._database, row.id, False, error.message)
            return error.message
        await self._keep_look(self._database, row.id, look)
        return ""

    async def _look(self, wanted: _Row, hypervisor: str | None) -> Look:
        """Make sure that a cluster answers, takes the credentials, and is the one meant."""
        where = f"{wanted.name} ({wanted.rapi_host}:{wanted.rapi_port})"
        try:
            cluster = self._clients.driver(wanted, lambda: None)
            await cluster.check_write_access()
            look = await _ask(cluster)
        except GanetiRefused as error:
            if error.status == _UNAUTHORIZED:
                text = (
                    f"{where} does not take the user {wanted.rapi_username!r} with this password."
                )
            elif error.status == _FORBIDDEN:
                text = f"At {where} the user {wanted.rapi_username!r} may read, but not write."
            else:
                text = f"{where}: {error.message}"
            raise GanetiRefused(text, error.status) from None
        except GanetiError as error:
            hint = ""
            if "certificate" in error.message and wanted.certificate is None:
                hint = " Pin a self-signed one with --certificate-file or --fingerprint."
            raise GanetiUnavailable(f"{where}: {error.message.rstrip('.')}.{hint}") from None
        finally:
            await self._clients.forget(_CANDIDATE)
        if look.info.name != wanted.name:
            raise BadRequest(
                f"The cluster at {wanted.rapi_host}:{wanted.rapi_port} is {look.info.name}, not"
                f" {wanted.name}: give --clustername {look.info.name} with"
                f" --host {wanted.rapi_host}, or another host."
            )
        enabled = look.info.hypervisors or (look.info.hypervisor,)
        if hypervisor is not None and hypervisor not in enabled:
            raise BadRequest(
                f"{wanted.name} has the hypervisors {', '.join(enabled)}, not {hypervisor}."
            )
        return look

    @staticmethod
    async def _keep_look(querier: Any, cluster_id: int, look: Look) -> None:
        await rows.set_capacity(querier, cluster_id, look.info, look.capacity, look.groups)
        await rows.set_reachable(querier, cluster_id, True, "")


async def _ask(cluster: IClusterQuestions) -> Look:
    return Look(await cluster.info(), await cluster.capacity(), await cluster.groups())


def _usual_hypervisor(look: Look) -> str:
    return look.info.hypervisor if look.info.hypervisor in HYPERVISORS else "kvm"


def _check(wanted: _Row) -> None:
    if _NAME.fullmatch(wanted.name) is None:
        raise BadRequest(
            "A cluster's name has letters, digits, dots and dashes, 255 at most:"
            f" {wanted.name[:80]!r} is none."
        )
    user = wanted.rapi_username
    if not user or len(user) > 255 or not user.isascii() or not user.isprintable() or ":" in user:
        raise BadRequest("A RAPI user's name has printable ASCII characters without a colon.")
    if not wanted.rapi_host.isprintable() or " " in wanted.rapi_host:
        raise BadRequest(f"{wanted.rapi_host[:80]!r} is not a host.")
    try:
        RapiAddress(
            host=wanted.rapi_host,
            port=wanted.rapi_port,
            scheme=wanted.rapi_scheme,
            certificate_pem=wanted.certificate,
            allow_plain_http=True,
        )
    except ValueError as error:
        raise BadRequest(str(error)) from None


def _check_hypervisor(hypervisor: str | None) -> None:
    if hypervisor is not None and hypervisor not in HYPERVISORS:
        raise BadRequest(
            f"There is no hypervisor {hypervisor[:40]!r}; there are: {', '.join(HYPERVISORS)}."
        )


def _taken(name: str) -> Conflict:
    return Conflict(
        f"There is a backend {name} already; change it with backend-modify.", "duplicate"
    )
