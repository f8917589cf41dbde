"""What a person can ask for about servers.

Each flow checks, writes what is wanted in one transaction, and returns; the loops make it
true. Nothing here talks to a cluster.
"""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from cyclades_tx.errors import (
    BadRequest,
    Conflict,
    CycladesError,
    Forbidden,
    NoCapacity,
    NotFound,
    OverQuota,
    Unavailable,
)
from cyclades_tx.flows.images import Images
from cyclades_tx.flows.interfaces import find_port
from cyclades_tx.flows.networks import Networks
from cyclades_tx.flows.quotas import COUNTED
from cyclades_tx.flows.rebuilding import Rebuilding
from cyclades_tx.ganeti.credentials import Keyring
from cyclades_tx.model import password, placement, quota
from cyclades_tx.model.ids import parse_uuid
from cyclades_tx.model.moves import ABSENT
from cyclades_tx.model.operation import CANCELED, PENDING, SUCCEEDED, Operation
from cyclades_tx.model.server import (
    MAX_METADATA,
    MAX_PERSONALITY,
    MAX_TAGS,
    BootImage,
    Created,
    NewServer,
    WantedNic,
    first_boot,
    hostname_of,
)
from cyclades_tx.model.who import Who
from cyclades_tx.sections import GanetiSection, OperationsSection, VmapiSection
from cyclades_tx.store import (
    attachments,
    flavors,
    keypairs,
    networks,
    operations,
    ports,
    project_limits,
    quotas,
    security_groups,
    server_groups,
    servers,
)
from cyclades_tx.store import clusters as cluster_rows
from cyclades_tx.vault import ISecretStore


@dataclass(frozen=True)
class _Parts:
    """Everything that a creation has looked up before its transaction."""

    flavor: Any
    image: Any
    public_key: str | None
    networks: tuple[tuple[Any, str | None, int | None], ...]
    candidates: tuple[placement.Candidate, ...]
    group: server_groups.Group | None = None


class Servers(Rebuilding):
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
        super().__init__(
            database,
            images_flow,
            ganeti,
            deadlines,
            vault,
            keyring,
            vmapi,
            source or random.SystemRandom(),
        )
        self._networks_flow = networks_flow

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
        group = None
        if new.group_ref is not None:
            group = await server_groups.find(self._database, _project(who), new.group_ref)
            if group is None:
                raise BadRequest(f"Instance group {new.group_ref} could not be found.")
        candidates = await cluster_rows.candidates(self._database, _project(who))
        return _Parts(flavor, image, public_key, found, candidates, group)

    async def _networks(
        self, who: Who, new: NewServer
    ) -> tuple[tuple[Any, str | None, int | None], ...]:
        """The interfaces: network, address and port, where the last two are named."""
        if new.networks is None:
            possible: Any = await self._networks_flow.attachable(self._database, who)
            own = [network for network in possible if network.project_id == who.project_id]
            if len(own) > 1:
                raise Conflict(
                    "Multiple possible networks found, use a Network ID to be more specific.",
                    "ambiguous_network",
                )
            return tuple((network, None, None) for network in possible[:1])
        if len(new.networks) > self._ganeti.max_nics:
            raise BadRequest(f"A server may have at most {self._ganeti.max_nics} interfaces.")
        found = []
        for wanted in new.networks:
            if wanted.port_ref is not None:
                found.append(await self._free_port(who, new, wanted))
                continue
            try:
                network = await self._networks_flow.to_attach(
                    self._database, who, wanted.network_ref or ""
                )
            except NotFound:
                raise BadRequest(f"Network {wanted.network_ref} could not be found.") from None
            found.append((network, wanted.fixed_ip, None))
        return tuple(found)

    async def _free_port(
        self, who: Who, new: NewServer, wanted: WantedNic
    ) -> tuple[Any, str | None, int | None]:
        """A port of the project's that a new server shall have."""
        ref = wanted.port_ref or ""
        try:
            port = await find_port(self._database, who, ref)
        except NotFound:
            raise BadRequest(f"Port {ref} could not be found.") from None
        if port.project_id != who.project_id:
            raise BadRequest(f"Port {ref} could not be found.")
        if wanted.fixed_ip is not None:
            raise BadRequest("Specified Fixed IP cannot be used with port.")
        if new.max_count > 1:
            raise BadRequest("Several servers cannot be made with one port.")
        if port.server_id is not None or port.router_id is not None:
            raise Conflict(f"Port {ref} is still in use.", "PortInUse")
        network = await self._database.first(
            "select id, name, project_id from network where id = %s", (port.network_id,)
        )
        return network, None, port.id

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
        config_token = self.new_config_token()
        amounts = quota.server_amounts(quota.ON, flavor.vcpus, flavor.memory_mib, flavor.disk_gib)
        boot_image = BootImage(
            parts.image.location, parts.image.disk_format, parts.image.properties
        )
        hostname = new.hostname or hostname_of(name, uuid)
        secret = first_boot(new, hostname, admin_password, boot_image, parts.public_key)

        async def work(tx: Any) -> None:
            nonlocal chosen
            holdings = await quotas.lock(tx, project_id)
            quotas.refuse_shortage(holdings, amounts)
            await project_limits.refuse_user_shortage(
                tx,
                project_id,
                who.user_id,
                instances=1,
                cores=flavor.vcpus,
                ram_mib=flavor.memory_mib,
            )
            if parts.group is not None:
                chosen = await self._place_in_group(tx, project_id, parts, new, flavor)
            server_id = await servers.insert(
                tx,
                servers.NewRow(
                    uuid=uuid,
                    name=name,
                    hostname=hostname,
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
            if parts.group is not None:
                await server_groups.add_member(tx, parts.group.id, server_id)
            groups: list[int] = []
            if any(port_id is None for _, _, port_id in parts.networks):
                groups = await security_groups.ids_of(tx, project_id, new.security_groups)
            for position, (network, fixed_ip, port_id) in enumerate(parts.networks):
                await networks.ensure_on_cluster(
                    tx, network.id, chosen.id, self._deadlines.deadline_seconds("make_network")
                )
                if port_id is not None:
                    await attachments.put_on(tx, port_id, server_id, position)
                    continue
                made = await ports.create_port(
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
                await security_groups.put_on_port(tx, made.id, groups)
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
            await servers.count_on_cluster(tx, server_id, flavor.disk_gib, 1)
            # Before the commit: a creation without its secrets must not be seen by a loop.
            await self._vault.put(config_token, secret, self._vmapi.secret_lifetime_seconds)

        try:
            await self._database.transaction(work, "server.create", turn=project_id)
        except Exception:
            with suppress(Unavailable):
                await self._vault.drop(config_token)
            raise
        return str(uuid)

    async def _place_in_group(
        self, tx: Any, project_id: str, parts: _Parts, new: NewServer, flavor: Any
    ) -> placement.Candidate:
        """Place a server once more, now that nobody else can join its group."""
        assert parts.group is not None
        group = await server_groups.lock(tx, parts.group.id)
        if group is None:
            raise BadRequest(f"Instance group {new.group_ref} could not be found.")
        company = await server_groups.company(tx, group)
        most = await project_limits.limit_of(
            tx, project_id, "server_group_members", COUNTED["server_group_members"]
        )
        if most != project_limits.UNLIMITED and sum(company.servers.values()) >= most:
            raise OverQuota("Quota exceeded, too many servers in group.")
        return self._place(parts, new, flavor, company)

    def _place(
        self,
        parts: _Parts,
        new: NewServer,
        flavor: Any,
        company: placement.Company | None = None,
    ) -> placement.Candidate:
        if new.cluster_id is not None:
            for each in parts.candidates:
                if each.id == new.cluster_id:
                    return each
            raise BadRequest(f"There is no cluster with the id {new.cluster_id}.")
        zone = None if new.availability_zone in (None, "", "nova") else new.availability_zone
        if zone is not None and all(each.name != zone for each in parts.candidates):
            raise BadRequest(f"The requested availability zone {zone} is not available.")
        need = placement.Need(
            flavor.memory_mib, flavor.disk_gib * 1024, flavor.disk_template, zone, company
        )
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


def _project(who: Who) -> str:
    if who.project_id is None:
        raise Forbidden("This needs a token that is scoped to a project.")
    return who.project_id
