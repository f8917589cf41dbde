"""Making servers: one, or several of which so many are made as fit."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

from cyclades_tx.errors import (
    CycladesError,
    NoCapacity,
    Unavailable,
)
from cyclades_tx.flows import server_disks
from cyclades_tx.flows.images import Images
from cyclades_tx.flows.networks import Networks
from cyclades_tx.flows.rebuilding import Rebuilding
from cyclades_tx.flows.server_networks import NoRoom, ServerNetworks
from cyclades_tx.flows.server_places import check_limits, need_of, place, place_in_group
from cyclades_tx.flows.server_wishes import LookUps, Wish, project_of
from cyclades_tx.ganeti.credentials import Keyring
from cyclades_tx.image_store.signing import Locate, as_it_is
from cyclades_tx.model import creation, password, placement, quota
from cyclades_tx.model.first_boot import FirstBoot
from cyclades_tx.model.server import (
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
    operations,
    quotas,
    server_groups,
    servers,
)
from cyclades_tx.vault import ISecretStore, disarm

#: So many networks that filled up meanwhile are passed by; after that the request is refused.
MOST_LOOKS = 5


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
        self._look_ups = LookUps(database, images_flow, ganeti, self._server_networks)

    async def create(self, who: Who, new: NewServer, request_id: str) -> Created:
        """Write down that servers are wanted, and answer.

        :raise BadRequest: for a flavor, image, network, port or key that is not there.
        :raise OverQuota: when the project may not have that much.
        :raise NoCapacity: when no cluster can take one; operators are told the reason of each.
        """
        project_id = project_of(who)
        parts = await self._look_ups.parts(who, new)
        reservation_id = "r-" + "".join(
            self._source.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(8)
        )
        wish = Wish(
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

    async def _create_with_room(self, wish: Wish, names: Sequence[str]) -> list[str]:
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

    async def _create_together(self, wish: Wish, names: Sequence[str]) -> list[str]:
        """Write servers down in one transaction; their UUIDs."""
        new, parts, flavor, count = wish.new, wish.parts, wish.parts.flavor, len(names)
        own_gib = 0 if new.boots_from_volume else flavor.disk_gib
        amounts = quota.server_amounts(quota.ON, flavor.vcpus, flavor.memory_mib, own_gib)
        drafts: list[_Draft] = []
        candidates = parts.candidates

        async def within_limits(tx: Any) -> None:
            await check_limits(tx, wish, amounts, count)

        try:
            for name in names:
                chosen = place(candidates, wish)
                candidates = placement.with_server(candidates, chosen, need_of(wish))
                drafts.append(_Draft(name, uuid4(), self.first_boots.new_token(), chosen))
        except NoCapacity:
            # What is beyond the quota as well fails for that: it is what its owner can mend.
            await self._database.transaction(within_limits, "server.create", turn=wish.project_id)
            raise

        async def work(tx: Any) -> None:
            await within_limits(tx)
            candidates = parts.candidates
            for draft in drafts:
                if parts.group is not None:
                    draft.chosen = await place_in_group(tx, wish, candidates)
                    candidates = placement.with_server(candidates, draft.chosen, need_of(wish))
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

    async def _insert(self, tx: Any, wish: Wish, draft: _Draft) -> int:
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

    async def _begin(self, tx: Any, wish: Wish, draft: _Draft, amounts: dict[str, int]) -> None:
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

    async def _first_boot(self, tx: Any, wish: Wish, draft: _Draft) -> FirstBoot:
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
