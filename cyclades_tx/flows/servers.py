"""What a person can ask for about servers.

Each flow checks, writes what is wanted in one transaction, and returns; the loops make it
true. Nothing here talks to a cluster.
"""

from __future__ import annotations

import base64
import random
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

import orjson

from cyclades_tx.errors import (
    BadRequest,
    Conflict,
    CycladesError,
    Forbidden,
    NoCapacity,
    NotFound,
    Unavailable,
)
from cyclades_tx.flows.images import Images
from cyclades_tx.flows.networks import Networks
from cyclades_tx.ganeti.credentials import Keyring
from cyclades_tx.model import password, placement, quota
from cyclades_tx.model.ids import parse_uuid
from cyclades_tx.model.moves import ABSENT, ALLOWED
from cyclades_tx.model.operation import CANCELED, PENDING, SUCCEEDED, Operation
from cyclades_tx.model.who import Who
from cyclades_tx.sections import GanetiSection, OperationsSection, VmapiSection
from cyclades_tx.store import clusters as cluster_rows
from cyclades_tx.store import (
    flavors,
    keypairs,
    networks,
    operations,
    outbox,
    ports,
    quotas,
    servers,
)
from cyclades_tx.vault import ISecretStore

MAX_METADATA = 128
MAX_PERSONALITY = 5
MAX_TAGS = 50


@dataclass(frozen=True)
class WantedNic:
    """An interface that a new server should have: on a network, or a port that exists."""

    network_ref: str | None = None
    port_ref: str | None = None
    fixed_ip: str | None = None


@dataclass(frozen=True)
class Personality:
    """A file to be written into the new machine at its first boot."""

    path: str
    contents: bytes = field(repr=False)
    owner: str = "root"
    group: str = "root"
    mode: int = 0o440


@dataclass(frozen=True)
class NewServer:
    """What is asked for.

    :ivar networks: None: the shared networks choose themselves; (): no interface at all.
    """

    name: str
    flavor_ref: str
    image_ref: str | None = None
    networks: tuple[WantedNic, ...] | None = None
    key_name: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    user_data: bytes | None = field(default=None, repr=False)
    personality: tuple[Personality, ...] = field(default=(), repr=False)
    admin_password: str | None = field(default=None, repr=False)
    security_groups: tuple[str, ...] | None = None
    availability_zone: str | None = None
    config_drive: bool = False
    description: str | None = None
    hostname: str | None = None
    tags: tuple[str, ...] = ()
    min_count: int = 1
    max_count: int = 1
    access_ipv4: str | None = None
    access_ipv6: str | None = None
    disk_config: str = "MANUAL"
    #: Only operators: the cluster, past the allocator.
    cluster_id: int | None = None


@dataclass(frozen=True)
class Created:
    """What a creation gives back."""

    uuids: tuple[str, ...]
    admin_password: str = field(repr=False)
    reservation_id: str
    security_groups: tuple[str, ...]


@dataclass(frozen=True)
class _Parts:
    """Everything that a creation has looked up before its transaction."""

    flavor: Any
    image: Any
    public_key: str | None
    networks: tuple[tuple[Any, str | None], ...]
    candidates: tuple[placement.Candidate, ...]


class Servers:
    """The flows of servers.

    :param keyring: seals what must not be read in the database.
    :param networks_flow: tells which networks a caller may attach to.
    :param images_flow: tells which images a caller may boot from.
    :param source: randomness of passwords and MAC addresses.
    """

    def __init__(
        self,
        database: Any,
        vault: ISecretStore,
        keyring: Keyring,
        networks_flow: Networks,
        images_flow: Images,
        ganeti: GanetiSection,
        deadlines: OperationsSection,
        vmapi: VmapiSection,
        source: random.Random | None = None,
    ) -> None:
        self._database = database
        self._vault = vault
        self._keyring = keyring
        self._networks_flow = networks_flow
        self._images_flow = images_flow
        self._ganeti = ganeti
        self._deadlines = deadlines
        self._vmapi = vmapi
        self._source = source or random.SystemRandom()

    # Creation

    async def create(self, who: Who, new: NewServer, request_id: str) -> Created:
        """Write down that servers are wanted, and answer.

        :raise BadRequest: for a flavor, image, network, port or key that is not there.
        :raise OverQuota: when the project may not have that much.
        :raise NoCapacity: when no cluster can take one; the message has the reason of each.
        """
        project_id = _project(who)
        parts = await self._look_up(who, new)
        admin_password = new.admin_password or password.make(self._source)
        reservation_id = "r-" + "".join(
            self._source.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(8)
        )
        uuids: list[str] = []
        for index in range(new.max_count):
            name = new.name if new.max_count == 1 else f"{new.name}-{index + 1}"
            if index:
                now = await cluster_rows.candidates(self._database, project_id)
                parts = replace(parts, candidates=now)
            creation = self._create_one(
                who, project_id, new, name, parts, admin_password, reservation_id, request_id
            )
            try:
                uuids.append(await creation)
            except CycladesError:
                if len(uuids) >= new.min_count:
                    break
                # As many as were asked for at least, or none.
                for uuid in uuids:
                    await self.delete(who, uuid, request_id)
                raise
        return Created(
            tuple(uuids), admin_password, reservation_id, new.security_groups or ("default",)
        )

    async def _look_up(self, who: Who, new: NewServer) -> _Parts:
        if new.min_count < 1 or new.max_count < new.min_count:
            raise BadRequest("min_count must be at least 1 and not above max_count.")
        if len(new.metadata) > MAX_METADATA:
            raise Forbidden(f"A server may have at most {MAX_METADATA} metadata items.")
        if len(new.personality) > MAX_PERSONALITY:
            raise Forbidden(f"A server may get at most {MAX_PERSONALITY} files.")
        if len(new.tags) > MAX_TAGS:
            raise BadRequest(f"A server may have at most {MAX_TAGS} tags.")
        flavor = await flavors.usable(self._database, who, new.flavor_ref)
        if flavor is None:
            raise BadRequest(f"Flavor {new.flavor_ref} could not be found.")
        if not flavor.allow_create:
            raise Forbidden(f"No servers can be made of flavor {flavor.name} any more.")
        if not new.image_ref:
            raise BadRequest("An image is needed: booting from a volume is not offered yet.")
        try:
            image = await self._images_flow.usable(self._database, who, new.image_ref)
        except NotFound:
            raise BadRequest(f"Can not find requested image {new.image_ref}.") from None
        if flavor.disk_gib < image.min_disk_gib:
            raise BadRequest(
                f"Flavor {flavor.name} has {flavor.disk_gib} GiB of disk; the image needs"
                f" {image.min_disk_gib}."
            )
        if flavor.memory_mib < image.min_memory_mib:
            raise BadRequest(
                f"Flavor {flavor.name} has {flavor.memory_mib} MiB of memory; the image needs"
                f" {image.min_memory_mib}."
            )
        public_key = None
        if new.key_name is not None:
            public_key = await keypairs.public_key(self._database, who.user_id, new.key_name)
            if public_key is None:
                raise BadRequest(f"Invalid key_name provided: there is no key {new.key_name!r}.")
        found = await self._networks(who, new)
        if new.security_groups:
            await self._security_groups(who, new.security_groups)
        candidates = await cluster_rows.candidates(self._database, _project(who))
        return _Parts(flavor, image, public_key, found, candidates)

    async def _networks(self, who: Who, new: NewServer) -> tuple[tuple[Any, str | None], ...]:
        if new.networks is None:
            possible: Any = await self._networks_flow.attachable(self._database, who)
            own = [network for network in possible if network.project_id == who.project_id]
            if len(own) > 1:
                raise Conflict(
                    "Multiple possible networks found, use a Network ID to be more specific.",
                    "ambiguous_network",
                )
            return tuple((network, None) for network in possible[:1])
        if len(new.networks) > self._ganeti.max_nics:
            raise BadRequest(f"A server may have at most {self._ganeti.max_nics} interfaces.")
        found = []
        for wanted in new.networks:
            if wanted.port_ref is not None or wanted.network_ref is None:
                raise BadRequest(f"Port {wanted.port_ref} could not be found.")
            try:
                network = await self._networks_flow.to_attach(
                    self._database, who, wanted.network_ref
                )
            except NotFound:
                raise BadRequest(f"Network {wanted.network_ref} could not be found.") from None
            found.append((network, wanted.fixed_ip))
        return tuple(found)

    async def _security_groups(self, who: Who, wanted: tuple[str, ...]) -> None:
        for ref in wanted:
            there = await self._database.value(
                "select 1 from security_group where project_id = %s"
                " and (name = %s or uuid::text = %s) limit 1",
                (_project(who), ref, ref.lower()),
            )
            if not there and ref != "default":
                raise BadRequest(f"Security group {ref} not found for project {who.project_id}.")

    async def _create_one(
        self,
        who: Who,
        project_id: str,
        new: NewServer,
        name: str,
        parts: _Parts,
        admin_password: str,
        reservation_id: str,
        request_id: str,
    ) -> str:
        flavor = parts.flavor
        chosen = self._place(parts, new, flavor)
        uuid = uuid4()
        token = base64.urlsafe_b64encode(self._source.getrandbits(256).to_bytes(32, "big"))
        config_token = token.decode().rstrip("=")
        amounts = quota.server_amounts(quota.ON, flavor.vcpus, flavor.memory_mib, flavor.disk_gib)
        secret = _first_boot(new, name, admin_password, parts)

        async def work(tx: Any) -> None:
            holdings = await quotas.lock(tx, project_id)
            quotas.refuse_shortage(holdings, amounts)
            server_id = await servers.insert(
                tx,
                servers.NewRow(
                    uuid=uuid,
                    name=name,
                    hostname=new.hostname or _hostname(name, uuid),
                    description=new.description,
                    user_id=who.user_id,
                    project_id=project_id,
                    cluster_id=chosen.id,
                    flavor_id=flavor.id,
                    vcpus=flavor.vcpus,
                    memory_mib=flavor.memory_mib,
                    image_id=parts.image.id,
                    key_name=new.key_name,
                    availability_zone=chosen.name,
                    config_drive=new.config_drive,
                    access_ipv4=new.access_ipv4,
                    access_ipv6=new.access_ipv6,
                    disk_config=new.disk_config,
                    user_data=None
                    if new.user_data is None
                    else self._keyring.encrypt("user_data", str(uuid), new.user_data.hex()),
                    reservation_id=reservation_id,
                ),
            )
            await servers.insert_root_volume(
                tx,
                server_id=server_id,
                user_id=who.user_id,
                project_id=project_id,
                size_gib=flavor.disk_gib,
                volume_type_id=flavor.volume_type_id,
                image_uuid=parts.image.uuid,
            )
            await servers.set_metadata(tx, server_id, new.metadata)
            await servers.add_tags(tx, server_id, new.tags)
            for position, (network, fixed_ip) in enumerate(parts.networks):
                await ports.create_port(
                    tx,
                    network_id=network.id,
                    project_id=project_id,
                    user_id=who.user_id,
                    server_id=server_id,
                    position=position,
                    address=fixed_ip,
                    automatic=True,
                    state="build",
                    random_bits=self._source.getrandbits,
                )
                await networks.ensure_on_cluster(
                    tx, network.id, chosen.id, self._deadlines.deadline_seconds("make_network")
                )
            operation_id = await operations.open_operation(
                tx,
                kind="create",
                cluster_id=chosen.id,
                deadline_seconds=self._deadlines.deadline_seconds("create"),
                server_id=server_id,
                project_id=project_id,
                user_id=who.user_id,
                request_id=request_id,
                arguments={
                    "config_token": self._keyring.encrypt(
                        "config_token", str(uuid), config_token
                    ).hex()
                },
                reason=f"Waits to be sent to cluster {chosen.name}.",
            )
            await quotas.reserve(tx, project_id, operation_id, amounts)
            await outbox.put(
                tx, "server.created", str(uuid), project_id, {"name": name, "user_id": who.user_id}
            )
            await servers.charge_cluster(tx, chosen.id, flavor.memory_mib, flavor.disk_gib * 1024)
            # Before the commit: a creation without its secrets must not be seen by a loop.
            await self._vault.put(config_token, secret, self._vmapi.secret_lifetime_seconds)

        try:
            await self._database.transaction(work, "server.create", turn=project_id)
        except Exception:
            with suppress(Unavailable):
                await self._vault.drop(config_token)
            raise
        return str(uuid)

    def _place(self, parts: _Parts, new: NewServer, flavor: Any) -> placement.Candidate:
        if new.cluster_id is not None:
            for each in parts.candidates:
                if each.id == new.cluster_id:
                    return each
            raise BadRequest(f"There is no cluster with the id {new.cluster_id}.")
        zone = None if new.availability_zone in (None, "", "nova") else new.availability_zone
        if zone is not None and all(each.name != zone for each in parts.candidates):
            raise BadRequest(f"The requested availability zone {zone} is not available.")
        need = placement.Need(flavor.memory_mib, flavor.disk_gib * 1024, flavor.disk_template, zone)
        placed = placement.choose(parts.candidates, need)
        if placed.chosen is None:
            why = "; ".join(f"{name}: {reason}" for name, reason in sorted(placed.reasons.items()))
            raise NoCapacity(
                f"No cluster can take this server. {why or 'There are no clusters yet'}.",
                reasons=placed.reasons,
            )
        return placed.chosen

    # What happens to one that is there

    async def delete(self, who: Who, ref: str, request_id: str) -> None:
        """Wish a server gone: always accepted.

        A creation that was not sent yet is canceled, and the server is gone at once; otherwise
        the deletion follows whatever runs.
        """

        async def work(tx: Any) -> Any:
            server, _ = await self._lock(tx, who, ref)
            self._refuse_locked(who, server)
            changes = await operations.open_of_server(tx, server.id, lock=True)
            if any(each.kind == "delete" for each in changes):
                return None
            open_change = changes[0] if changes else None
            canceled = None
            if open_change is not None and open_change.state == PENDING:
                canceled = open_change
                await servers.settle(
                    tx, open_change, CANCELED, "Canceled by the server's deletion.", ABSENT
                )
                open_change = None
                server = await servers.lock(tx, server.id)
            await operations.open_operation(
                tx,
                kind="delete",
                cluster_id=server.cluster_id,
                # It may have to follow what runs until the end of that.
                deadline_seconds=self._deadlines.deadline_seconds("delete")
                + (await operations.seconds_left(tx, open_change.id) if open_change else 0.0),
                server_id=server.id,
                project_id=server.project_id,
                user_id=who.user_id,
                request_id=request_id,
                reason="Waits to be sent to its cluster.",
            )
            await tx.run("update server set updated_at = now() where id = %s", (server.id,))
            if server.charge == quota.NONE and open_change is None:
                # Nothing of it stands on a cluster.
                (deletion,) = await operations.open_of_server(tx, server.id)
                await servers.settle(tx, deletion, SUCCEEDED, "", ABSENT)
            return canceled

        canceled = await self._database.transaction(work, "server.delete")
        if canceled is not None:
            await self._drop_secret(ref, canceled)

    async def _drop_secret(self, ref: str, creation: Operation) -> None:
        """Nobody will ask for it; if it cannot be dropped now, it expires."""
        sealed = creation.arguments.get("config_token")
        uuid = parse_uuid(ref)
        if isinstance(sealed, str) and uuid is not None:
            with suppress(CycladesError):
                token = self._keyring.decrypt("config_token", uuid, bytes.fromhex(sealed))
                await self._vault.drop(token)

    async def start(self, who: Who, ref: str, request_id: str) -> None:
        """Wish a stopped server running."""
        await self._change(who, ref, request_id, "start", "start")

    async def stop(self, who: Who, ref: str, request_id: str) -> None:
        """Wish a running server stopped."""
        await self._change(who, ref, request_id, "stop", "stop")

    async def reboot(self, who: Who, ref: str, hard: bool, request_id: str) -> None:
        """Wish a server booted again; a hard reboot does not wait for the guest."""
        rule = "reboot_hard" if hard else "reboot_soft"
        await self._change(
            who, ref, request_id, "reboot", rule, {"type": "HARD" if hard else "SOFT"}
        )

    async def _change(
        self,
        who: Who,
        ref: str,
        request_id: str,
        kind: str,
        rule: str,
        arguments: dict[str, Any] | None = None,
    ) -> None:
        async def work(tx: Any) -> None:
            server, holdings = await self._lock(tx, who, ref)
            self._refuse_locked(who, server)
            if await operations.open_of_server(tx, server.id):
                raise Conflict(
                    f"Cannot '{kind}' instance {ref} while another operation on it is under way",
                    "busy",
                )
            if server.state not in ALLOWED[rule]:
                raise Conflict(
                    f"Cannot '{kind}' instance {ref} while it is in vm_state {server.state}",
                    "state",
                )
            growth: dict[str, int] = {}
            if server.charge == quota.OFF and kind in ("start", "reboot"):
                growth = quota.difference(
                    quota.server_amounts(quota.OFF, server.vcpus, server.memory_mib, 0),
                    quota.server_amounts(quota.ON, server.vcpus, server.memory_mib, 0),
                )
                quotas.refuse_shortage(holdings, growth)
            operation_id = await operations.open_operation(
                tx,
                kind=kind,
                cluster_id=server.cluster_id,
                deadline_seconds=self._deadlines.deadline_seconds(kind),
                server_id=server.id,
                project_id=server.project_id,
                user_id=who.user_id,
                request_id=request_id,
                arguments=arguments,
                reason="Waits to be sent to its cluster.",
            )
            await quotas.reserve(tx, server.project_id, operation_id, growth)
            await tx.run("update server set updated_at = now() where id = %s", (server.id,))

        await self._database.transaction(work, f"server.{kind}")

    async def update(self, who: Who, ref: str, changes: dict[str, Any]) -> None:
        """Change what only the database knows: name, description, access addresses, host name."""
        columns: dict[str, Any] = {
            key: changes[key]
            for key in ("name", "description", "access_ipv4", "access_ipv6", "hostname")
            if key in changes
        }

        async def work(tx: Any) -> None:
            server, _ = await self._lock(tx, who, ref)
            if columns:
                assignments = ", ".join(f"{column} = %({column})s" for column in columns)
                await tx.run(
                    f"update server set {assignments}, updated_at = now() where id = %(id)s",
                    {**columns, "id": server.id},
                )

        await self._database.transaction(work, "server.update")

    async def set_metadata(
        self, who: Who, ref: str, items: dict[str, str], replace: bool
    ) -> dict[str, str]:
        """Add metadata items, or put them in place of all there are; return what is there then."""

        async def work(tx: Any) -> dict[str, str]:
            server, _ = await self._lock(tx, who, ref)
            if replace:
                await tx.run("delete from server_metadata where server_id = %s", (server.id,))
            await servers.set_metadata(tx, server.id, items)
            rows = await tx.all(
                "select key, value from server_metadata where server_id = %s order by key",
                (server.id,),
            )
            if len(rows) > MAX_METADATA:
                raise Forbidden(f"A server may have at most {MAX_METADATA} metadata items.")
            await tx.run("update server set updated_at = now() where id = %s", (server.id,))
            return {row.key: row.value for row in rows}

        found: dict[str, str] = await self._database.transaction(work, "server.metadata")
        return found

    async def delete_metadata(self, who: Who, ref: str, key: str) -> None:
        """Remove a metadata item.

        :raise NotFound: when there is none with that key.
        """

        async def work(tx: Any) -> None:
            server, _ = await self._lock(tx, who, ref)
            gone = await tx.run(
                "delete from server_metadata where server_id = %s and key = %s", (server.id, key)
            )
            if not gone:
                raise NotFound("Metadata item was not found", "metadata")
            await tx.run("update server set updated_at = now() where id = %s", (server.id,))

        await self._database.transaction(work, "server.metadata")

    async def set_tags(self, who: Who, ref: str, tags: tuple[str, ...]) -> None:
        """Put these tags in place of all there are."""
        if len(tags) > MAX_TAGS:
            raise BadRequest(f"A server may have at most {MAX_TAGS} tags.")

        async def work(tx: Any) -> None:
            server, _ = await self._lock(tx, who, ref)
            await tx.run("delete from server_tag where server_id = %s", (server.id,))
            await servers.add_tags(tx, server.id, tags)
            await tx.run("update server set updated_at = now() where id = %s", (server.id,))

        await self._database.transaction(work, "server.tags")

    async def add_tag(self, who: Who, ref: str, tag: str) -> bool:
        """Add one tag; False when it was there already."""

        async def work(tx: Any) -> bool:
            server, _ = await self._lock(tx, who, ref)
            before = await servers.tags_of(tx, server.id)
            if tag in before:
                return False
            if len(before) >= MAX_TAGS:
                raise BadRequest(f"A server may have at most {MAX_TAGS} tags.")
            await servers.add_tags(tx, server.id, (tag,))
            await tx.run("update server set updated_at = now() where id = %s", (server.id,))
            return True

        return bool(await self._database.transaction(work, "server.tags"))

    async def delete_tag(self, who: Who, ref: str, tag: str) -> None:
        """Remove one tag.

        :raise NotFound: when the server has no such tag.
        """

        async def work(tx: Any) -> None:
            server, _ = await self._lock(tx, who, ref)
            gone = await tx.run(
                "delete from server_tag where server_id = %s and tag = %s", (server.id, tag)
            )
            if not gone:
                raise NotFound(f"Server {ref} has no tag '{tag}'", "tag")
            await tx.run("update server set updated_at = now() where id = %s", (server.id,))

        await self._database.transaction(work, "server.tags")

    async def lock(self, who: Who, ref: str, reason: str | None) -> None:
        """Keep the owner from changing a server by accident."""
        await self._set_lock(who, ref, True, reason)

    async def unlock(self, who: Who, ref: str) -> None:
        """Undo :meth:`lock`."""
        await self._set_lock(who, ref, False, None)

    async def _set_lock(self, who: Who, ref: str, locked: bool, reason: str | None) -> None:
        async def work(tx: Any) -> None:
            server, _ = await self._lock(tx, who, ref)
            await tx.run(
                "update server set locked = %s, locked_reason = %s, updated_at = now()"
                " where id = %s",
                (locked, reason, server.id),
            )

        await self._database.transaction(work, "server.lock")

    async def _lock(self, tx: Any, who: Who, ref: str) -> tuple[Any, dict[str, quota.Holding]]:
        """Lock the holdings of a server's project, then its row; return the row and them.

        :raise NotFound: when there is none, or the caller may not see it.
        """
        found = await servers.find(tx, ref, who)
        if found is None:
            raise _no_server(ref)
        holdings = await quotas.lock(tx, found.project_id)
        server = await servers.lock(tx, found.id)
        if server.deleted:
            raise _no_server(ref)
        if server.suspended and not who.admin:
            raise Forbidden("An administrator has suspended this server.")
        return server, holdings

    @staticmethod
    def _refuse_locked(who: Who, server: Any) -> None:
        if server.locked and not who.admin:
            raise Conflict(f"Instance {server.uuid} is locked", "locked")


def _no_server(ref: str) -> NotFound:
    return NotFound(f"Instance {ref} could not be found.", "server")


def _project(who: Who) -> str:
    if who.project_id is None:
        raise Forbidden("This needs a token that is scoped to a project.")
    return who.project_id


def _hostname(name: str, uuid: UUID) -> str:
    """A host name out of a server's name (RFC 1123), or out of its UUID."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-.") else "-" for c in name.lower())
    kept = kept.strip("-.")[:63].strip("-.")
    return kept or f"server-{uuid}"


def _first_boot(new: NewServer, name: str, admin_password: str, parts: _Parts) -> bytes:
    """The document that the new machine fetches once (snf-image's variables)."""
    document: dict[str, str] = {
        "img_id": parts.image.location or "null",
        "img_format": parts.image.disk_format,
        "img_passwd": admin_password,
        "img_personality": orjson.dumps(
            [
                {
                    "path": each.path,
                    "contents": base64.b64encode(each.contents).decode(),
                    "owner": each.owner,
                    "group": each.group,
                    "mode": each.mode,
                }
                for each in new.personality
            ]
        ).decode(),
        "img_properties": orjson.dumps(
            {key.upper(): value for key, value in parts.image.properties.items()}
        ).decode(),
        "hostname": new.hostname or name,
    }
    if parts.public_key is not None:
        document["auth_keys"] = parts.public_key
    if new.user_data is not None:
        document["cloud_userdata"] = base64.b64encode(new.user_data).decode()
    return orjson.dumps(document)
