"""Making servers: one, or several of which so many are made as fit."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

from cyclades_tx.errors import (
    BadRequest,
    CycladesError,
    Forbidden,
    NoCapacity,
    NotFound,
    OverQuota,
    Unavailable,
)
from cyclades_tx.flows import server_disks
from cyclades_tx.flows.images import Images
from cyclades_tx.flows.networks import Networks
from cyclades_tx.flows.quotas import COUNTED
from cyclades_tx.flows.rebuilding import Rebuilding
from cyclades_tx.flows.server_networks import Nic, NoRoom, ServerNetworks
from cyclades_tx.ganeti.credentials import Keyring
from cyclades_tx.image_store.signing import Locate, as_it_is
from cyclades_tx.model import creation, password, placement, quota
from cyclades_tx.model.first_boot import FirstBoot
from cyclades_tx.model.server import (
    MAX_METADATA,
    MAX_PERSONALITY,
    MAX_TAGS,
    BootImage,
    Created,
    NewServer,
    hostname_of,
)
from cyclades_tx.model.who import Who
from cyclades_tx.sections import GanetiSection, OperationsSection, VmapiSection
from cyclades_tx.store import clusters as cluster_rows
from cyclades_tx.store import (
    first_boots,
    flavors,
    keypairs,
    operations,
    project_limits,
    quotas,
    server_groups,
    servers,
)
from cyclades_tx.vault import ISecretStore, disarm

#: So many networks that filled up meanwhile are passed by; after that the request is refused.
MOST_LOOKS = 5


@dataclass(frozen=True)
class _Parts:
    """Everything that a creation has looked up before its transaction."""

    flavor: Any
    image: Any
    public_key: str | None
    networks: tuple[Nic, ...]
    candidates: tuple[placement.Candidate, ...]
    disks: tuple[server_disks.Disk, ...] = ()
    group: server_groups.Group | None = None


@dataclass(frozen=True)
class _Wish:
    """What one request for servers asks for, and what all of them have in common."""

    who: Who
    project_id: str
    new: NewServer
    parts: _Parts
    admin_password: str
    reservation_id: str
    request_id: str


@dataclass
class _Draft:
    """One server that is about to be written down.

    :ivar chosen: its cluster; of a group it is chosen anew when nobody else can join that.
    :ivar boot: what it is told; known when its interfaces are.
    """

    name: str
    uuid: UUID
    config_token: str
    chosen: placement.Candidate
    id: int = 0
    boot: FirstBoot | None = None


class NewServers(Rebuilding):
    """The flow that makes servers.

    :param keyring: seals what must not be read in the database.
    :param networks_flow: tells which networks a caller may attach to.
    :param images_flow: tells which images a caller may boot from.
    :param source: randomness of passwords and MAC addresses.
    :param vmapi_url: where new machines fetch what they are told.
    :param locate: says from where a cluster gets an image.
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
        vmapi_url: str = "",
        locate: Locate = as_it_is,
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
            vmapi_url,
            locate,
        )
        self._server_networks = ServerNetworks(
            database, networks_flow, ganeti, deadlines, self._source.getrandbits
        )

    async def create(self, who: Who, new: NewServer, request_id: str) -> Created:
        """Write down that servers are wanted, and answer.

        :raise BadRequest: for a flavor, image, network, port or key that is not there.
        :raise OverQuota: when the project may not have that much.
        :raise NoCapacity: when no cluster can take one; the message has the reason of each.
        """
        project_id = project_of(who)
        parts = await self._look_up(who, new)
        reservation_id = "r-" + "".join(
            self._source.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(8)
        )
        wish = _Wish(
            who,
            project_id,
            new,
            parts,
            new.admin_password or password.make(self._source),
            reservation_id,
            request_id,
        )
        names = [f"{new.name}-{index + 1}" for index in range(new.max_count)]
        if new.max_count == 1:
            names = [new.name]
        # As many as are needed at least, or none; of the others as many as there is room for.
        uuids = await self._create_with_room(wish, names[: new.min_count])
        for name in names[new.min_count :]:
            now = await cluster_rows.candidates(self._database, project_id)
            wish = replace(wish, parts=replace(parts, candidates=now))
            try:
                uuids += await self._create_with_room(wish, (name,))
            except CycladesError:
                break
        return Created(
            tuple(uuids), wish.admin_password, reservation_id, new.security_groups or ("default",)
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
        disks = await server_disks.look_up(
            self._database,
            who,
            new,
            flavor.disk_template,
            flavor.volume_type_id,
            self._ganeti.max_disks,
        )
        image = await self._image(who, new, flavor, disks)
        public_key = None
        if new.key_name is not None:
            public_key = await keypairs.public_key(self._database, who.user_id, new.key_name)
            if public_key is None:
                raise BadRequest(f"Invalid key_name provided: there is no key {new.key_name!r}.")
        found = await self._server_networks.chosen(who, new)
        if new.security_groups:
            await self._security_groups(who, new.security_groups)
        group = None
        if new.group_ref is not None:
            group = await server_groups.find(self._database, project_of(who), new.group_ref)
            if group is None:
                raise BadRequest(f"Instance group {new.group_ref} could not be found.")
        candidates = await cluster_rows.candidates(self._database, project_of(who))
        return _Parts(flavor, image, public_key, found, candidates, disks, group)

    async def _image(
        self, who: Who, new: NewServer, flavor: Any, disks: tuple[server_disks.Disk, ...]
    ) -> Any:
        """The image that a server gets; None: it boots from a volume as that is."""
        first = next((disk for disk in disks if disk.wanted.boot), None)
        there = first is not None and first.volume_ref is not None
        image_ref = server_disks.image_of(disks) if there else new.image_ref
        if image_ref is None and there:
            if new.user_data or new.personality or new.config_drive:
                raise BadRequest(
                    "Nothing is installed on a volume that a server boots from as it is: nobody"
                    " would read user_data, personality or a config drive."
                )
            return None
        if not image_ref:
            raise BadRequest(
                "An image is needed: on this cloud a server boots from an image, or from a volume."
            )
        try:
            image = await self._images_flow.usable(self._database, who, image_ref)
        except NotFound:
            raise BadRequest(f"Can not find requested image {image_ref}.") from None
        root_gib = flavor.disk_gib if first is None else first.size_gib
        if root_gib < image.min_disk_gib:
            what = f"Flavor {flavor.name}" if first is None else "The volume"
            raise BadRequest(
                f"{what} has {root_gib} GiB of disk; the image needs {image.min_disk_gib}."
            )
        if flavor.memory_mib < image.min_memory_mib:
            raise BadRequest(
                f"Flavor {flavor.name} has {flavor.memory_mib} MiB of memory; the image needs"
                f" {image.min_memory_mib}."
            )
        return image

    async def _security_groups(self, who: Who, wanted: tuple[str, ...]) -> None:
        for ref in wanted:
            there = await self._database.value(
                "select 1 from security_group where project_id = %s"
                " and (name = %s or uuid::text = %s) limit 1",
                (project_of(who), ref, ref.lower()),
            )
            if not there and ref != "default":
                raise BadRequest(f"Security group {ref} not found for project {who.project_id}.")

    async def _create_with_room(self, wish: _Wish, names: Sequence[str]) -> list[str]:
        """The same as the next, on other networks of the operator's choice if one has filled up.

        Between looking them up and taking an address of them others take addresses, too.
        """
        full: set[int] = set()
        while True:
            try:
                return await self._create_together(wish, names)
            except NoRoom as error:
                if len(full) >= MOST_LOOKS:
                    raise
                full.add(error.network_id)
            found = await self._server_networks.chosen(wish.who, wish.new, full)
            wish = replace(wish, parts=replace(wish.parts, networks=found))

    async def _create_together(self, wish: _Wish, names: Sequence[str]) -> list[str]:
        """Write servers down in one transaction; their UUIDs."""
        new, parts, flavor, count = wish.new, wish.parts, wish.parts.flavor, len(names)
        own_gib = 0 if new.boots_from_volume else flavor.disk_gib
        amounts = quota.server_amounts(quota.ON, flavor.vcpus, flavor.memory_mib, own_gib)
        drafts: list[_Draft] = []
        candidates = parts.candidates

        async def check_limits(tx: Any) -> None:
            await _check_limits(tx, wish, amounts, count)

        try:
            for name in names:
                chosen = self._place(candidates, wish)
                candidates = placement.with_server(candidates, chosen, _need(wish))
                drafts.append(_Draft(name, uuid4(), self.first_boots.new_token(), chosen))
        except NoCapacity:
            # What is beyond the quota as well fails for that: it is what its owner can mend.
            await self._database.transaction(check_limits, "server.create", turn=wish.project_id)
            raise

        async def work(tx: Any) -> None:
            await check_limits(tx)
            candidates = parts.candidates
            for draft in drafts:
                if parts.group is not None:
                    draft.chosen = await self._place_in_group(tx, wish, candidates)
                    candidates = placement.with_server(candidates, draft.chosen, _need(wish))
                draft.id = await self._insert(tx, wish, draft)
            for draft in drafts:
                await self._server_networks.make(
                    tx,
                    wish.who,
                    wish.project_id,
                    draft.id,
                    draft.chosen.id,
                    parts.networks,
                    new.security_groups,
                )
                image_uuid = None if parts.image is None else parts.image.uuid
                await server_disks.make(
                    tx, wish.who, wish.project_id, draft.id, parts.disks, image_uuid
                )
                if parts.image is not None:
                    draft.boot = await self._first_boot(tx, wish, draft)
                await self._begin(tx, wish, draft, amounts)
            # Before the commit: a creation without its secrets must not be seen by a loop.
            for draft in drafts:
                if draft.boot is not None:
                    await self.first_boots.arm(draft.config_token, draft.boot, new.config_drive)
            # Every creation locks its cluster's row: it comes last, when nothing is waited for.
            for draft in sorted(drafts, key=lambda draft: draft.chosen.id):
                await servers.count_on_cluster(tx, draft.id, own_gib, 1)

        try:
            await self._database.transaction(work, "server.create", turn=wish.project_id)
        except Exception:
            for draft in drafts:
                with suppress(Unavailable):
                    await disarm(self._vault, draft.config_token, new.config_drive)
            raise
        return [str(draft.uuid) for draft in drafts]

    async def _insert(self, tx: Any, wish: _Wish, draft: _Draft) -> int:
        """Write the rows of a server, without interfaces; its id."""
        new, parts, flavor = wish.new, wish.parts, wish.parts.flavor
        server_id = await servers.insert(
            tx,
            servers.NewRow(
                uuid=draft.uuid,
                name=draft.name,
                hostname=new.hostname or hostname_of(draft.name, draft.uuid),
                description=new.description,
                user_id=wish.who.user_id,
                project_id=wish.project_id,
                cluster_id=draft.chosen.id,
                flavor_id=flavor.id,
                vcpus=flavor.vcpus,
                memory_mib=flavor.memory_mib,
                image_id=None if parts.image is None else parts.image.id,
                key_name=new.key_name,
                availability_zone=draft.chosen.name,
                config_drive=new.config_drive,
                access_ipv4=new.access_ipv4,
                access_ipv6=new.access_ipv6,
                disk_config=new.disk_config,
                user_data=self.first_boots.seal(str(draft.uuid), new.user_data),
                reservation_id=wish.reservation_id,
            ),
        )
        if not new.boots_from_volume:
            await servers.insert_root_volume(
                tx,
                server_id=server_id,
                user_id=wish.who.user_id,
                project_id=wish.project_id,
                size_gib=flavor.disk_gib,
                volume_type_id=flavor.volume_type_id,
                image_uuid=parts.image.uuid,
            )
        await servers.set_metadata(tx, server_id, new.metadata)
        await servers.add_tags(tx, server_id, new.tags)
        if parts.group is not None:
            await server_groups.add_member(tx, parts.group.id, server_id)
        return server_id

    async def _begin(self, tx: Any, wish: _Wish, draft: _Draft, amounts: dict[str, int]) -> None:
        """Open the operation that makes a server, with what it will be charged for."""
        new = wish.new
        puts_on = server_disks.home_of(wish.parts.disks) is not None
        arguments = creation.arguments(draft.boot is not None, puts_on)
        if draft.boot is not None:
            arguments |= self.first_boots.arguments(
                str(draft.uuid),
                draft.config_token,
                draft.boot,
                new.config_drive,
                new.admin_password is not None,
            )
        operation_id = await operations.open_operation(
            tx,
            kind="create",
            cluster_id=draft.chosen.id,
            deadline_seconds=self._deadlines.deadline_seconds("create"),
            server_id=draft.id,
            project_id=wish.project_id,
            user_id=wish.who.user_id,
            request_id=wish.request_id,
            arguments=arguments,
            reason=f"Waits to be sent to cluster {draft.chosen.name}.",
        )
        await quotas.reserve(tx, wish.project_id, operation_id, amounts)

    async def _first_boot(self, tx: Any, wish: _Wish, draft: _Draft) -> FirstBoot:
        new, image = wish.new, wish.parts.image
        return FirstBoot(
            instance_id=str(draft.uuid),
            hostname=new.hostname or hostname_of(draft.name, draft.uuid),
            image=BootImage(image.location, image.disk_format, image.properties),
            password=wish.admin_password,
            public_key=wish.parts.public_key,
            user_data=new.user_data,
            personality=new.personality,
            links=await first_boots.links_of(tx, draft.id),
        )

    async def _place_in_group(
        self, tx: Any, wish: _Wish, candidates: Sequence[placement.Candidate]
    ) -> placement.Candidate:
        """Place a server once more, now that nobody else can join its group."""
        assert wish.parts.group is not None
        group = await server_groups.lock(tx, wish.parts.group.id)
        if group is None:
            raise BadRequest(f"Instance group {wish.new.group_ref} could not be found.")
        company = await server_groups.company(tx, group)
        most = await project_limits.limit_of(
            tx, wish.project_id, "server_group_members", COUNTED["server_group_members"]
        )
        if most != project_limits.UNLIMITED and sum(company.servers.values()) >= most:
            raise OverQuota("Quota exceeded, too many servers in group.")
        return self._place(candidates, wish, company)

    def _place(
        self,
        candidates: Sequence[placement.Candidate],
        wish: _Wish,
        company: placement.Company | None = None,
    ) -> placement.Candidate:
        need, wanted = _need(wish, company), wish.new.cluster_id
        if wanted is not None:
            for each in candidates:
                if each.id == wanted and need.home in (None, wanted):
                    return each
            raise BadRequest(f"There is no cluster with the id {wanted}, or not for this server.")
        if need.zone is not None and all(each.name != need.zone for each in candidates):
            raise BadRequest(f"The requested availability zone {need.zone} is not available.")
        placed = placement.choose(candidates, need)
        if placed.chosen is None:
            why = "; ".join(f"{name}: {reason}" for name, reason in sorted(placed.reasons.items()))
            raise NoCapacity(
                f"No cluster can take this server. {why or 'There are no clusters yet'}.",
                reasons=placed.reasons,
            )
        return placed.chosen


async def _check_limits(tx: Any, wish: _Wish, amounts: Mapping[str, int], count: int) -> None:
    """Refuse servers beyond the project's quota or its user's; its holdings are locked after."""
    new, flavor = wish.new, wish.parts.flavor
    holdings = await quotas.lock(tx, wish.project_id)
    wanted = {resource: count * amount for resource, amount in amounts.items()}
    if new.fresh_gib:
        more = count * new.fresh_gib * quota.GIB
        wanted[quota.DISK] = wanted.get(quota.DISK, 0) + more
    quotas.refuse_shortage(holdings, wanted)
    await project_limits.refuse_user_shortage(
        tx,
        wish.project_id,
        wish.who.user_id,
        instances=count,
        cores=count * flavor.vcpus,
        ram_mib=count * flavor.memory_mib,
    )


def _need(wish: _Wish, company: placement.Company | None = None) -> placement.Need:
    new, flavor = wish.new, wish.parts.flavor
    zone = None if new.availability_zone in (None, "", "nova") else new.availability_zone
    disk_gib = (0 if new.boots_from_volume else flavor.disk_gib) + new.fresh_gib
    home = server_disks.home_of(wish.parts.disks)
    if home is not None:
        disk_gib += creation.PLACE_MIB // 1024
    return placement.Need(
        flavor.memory_mib, disk_gib * 1024, flavor.disk_template, zone, company, home
    )


def project_of(who: Who) -> str:
    """The project that a token is for.

    :raise Forbidden: when it is for none.
    """
    if who.project_id is None:
        raise Forbidden("This needs a token that is scoped to a project.")
    return who.project_id
