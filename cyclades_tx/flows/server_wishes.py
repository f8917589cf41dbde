"""What a request for servers asks for, and all that it names: looked up before a write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cyclades_tx.errors import BadRequest, Forbidden, NotFound
from cyclades_tx.flows import server_disks
from cyclades_tx.flows.images import Images
from cyclades_tx.flows.server_networks import Nic, ServerNetworks
from cyclades_tx.model import placement
from cyclades_tx.model.server import MAX_METADATA, MAX_PERSONALITY, MAX_TAGS, NewServer
from cyclades_tx.model.who import Who
from cyclades_tx.sections import GanetiSection
from cyclades_tx.store import clusters as cluster_rows
from cyclades_tx.store import flavors, keypairs, server_groups


@dataclass(frozen=True)
class Parts:
    """Everything that a creation has looked up before its transaction."""

    flavor: Any
    image: Any
    public_key: str | None
    networks: tuple[Nic, ...]
    candidates: tuple[placement.Candidate, ...]
    disks: tuple[server_disks.Disk, ...] = ()
    group: server_groups.Group | None = None


@dataclass(frozen=True)
class Wish:
    """What one request for servers asks for, and what all of them have in common."""

    who: Who
    project_id: str
    new: NewServer
    parts: Parts
    admin_password: str
    reservation_id: str
    request_id: str


class LookUps:
    """Finds what requests for servers name.

    :param images_flow: tells which images a caller may boot from.
    :param server_networks: chooses the interfaces.
    """

    def __init__(
        self,
        database: Any,
        images_flow: Images,
        ganeti: GanetiSection,
        server_networks: ServerNetworks,
    ) -> None:
        self._database = database
        self._images_flow = images_flow
        self._ganeti = ganeti
        self._server_networks = server_networks

    async def parts(self, who: Who, new: NewServer) -> Parts:
        """Find everything that a request names.

        :raise BadRequest: for a flavor, image, network, port, key or group that is not there.
        :raise Forbidden: for more of something than a server may have.
        """
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
        return Parts(flavor, image, public_key, found, candidates, disks, group)

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


def project_of(who: Who) -> str:
    """The project that a token is for.

    :raise Forbidden: when it is for none.
    """
    if who.project_id is None:
        raise Forbidden("This needs a token that is scoped to a project.")
    return who.project_id
