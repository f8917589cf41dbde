"""A new system on a server that is there: its interfaces, its size and its name stay."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

from cyclades_tx.errors import BadRequest, Forbidden, NotFound, Unavailable
from cyclades_tx.flows.first_boot import FirstBoots
from cyclades_tx.flows.images import Images
from cyclades_tx.flows.server_changes import ServerChanges
from cyclades_tx.ganeti.credentials import Keyring
from cyclades_tx.image_store.signing import Locate, as_it_is
from cyclades_tx.model import password, quota
from cyclades_tx.model.first_boot import FirstBoot
from cyclades_tx.model.moves import STOPPED
from cyclades_tx.model.server import (
    MAX_PERSONALITY,
    BootImage,
    Rebuild,
    Rebuilt,
)
from cyclades_tx.model.who import Who
from cyclades_tx.sections import GanetiSection, OperationsSection, VmapiSection
from cyclades_tx.store import first_boots, keypairs, outbox, procedures, servers
from cyclades_tx.vault import ISecretStore, disarm

#: What a rebuild may change beside the system, as the columns are named.
_COLUMNS = ("name", "description", "access_ipv4", "access_ipv6", "hostname", "disk_config")


class Rebuilding(ServerChanges):
    """The flow that puts a new system on a server."""

    def __init__(
        self,
        database: Any,
        images_flow: Images,
        ganeti: GanetiSection,
        deadlines: OperationsSection,
        vault: ISecretStore,
        keyring: Keyring,
        vmapi: VmapiSection,
        source: random.Random,
        vmapi_url: str = "",
        locate: Locate = as_it_is,
    ) -> None:
        super().__init__(database, images_flow, ganeti, deadlines, source)
        self._vault = vault
        self._keyring = keyring
        self.first_boots = FirstBoots(
            database, vault, keyring, vmapi.secret_lifetime_seconds, vmapi_url, source, locate
        )

    async def rebuild(self, who: Who, ref: str, wanted: Rebuild, request_id: str) -> Rebuilt:
        """Wish a server with a new system on its disk, and new first-boot secrets.

        What only the database knows (its name and the like) is changed at once.

        :raise BadRequest: for an image or a key that is not there, or that does not fit.
        """
        if len(wanted.personality) > MAX_PERSONALITY:
            raise Forbidden(f"A server may get at most {MAX_PERSONALITY} files.")
        config_token = self.first_boots.new_token()
        admin_password = wanted.admin_password or password.make(self._source)

        async def work(tx: Any) -> Rebuilt:
            server, holdings = await self._lock_to_change(tx, who, ref, "rebuild", "rebuild")
            uuid = str(server.uuid)
            image = await self._image_that_fits(tx, who, wanted.image_ref, server)
            public_key = await self._public_key(tx, who, server, wanted)
            row = await tx.first(
                "select hostname, user_data, config_drive from server where id = %s", (server.id,)
            )
            user_data = wanted.user_data
            if not wanted.sets_user_data:
                user_data = self.first_boots.opened(uuid, row.user_data)
            await self._write_details(tx, server, wanted)
            boot = FirstBoot(
                instance_id=uuid,
                hostname=wanted.columns.get("hostname") or row.hostname,
                image=BootImage(image.location, image.disk_format, image.properties),
                password=admin_password,
                public_key=public_key,
                user_data=user_data,
                personality=wanted.personality,
                links=await first_boots.links_of(tx, server.id),
            )
            start = server.state != STOPPED
            growth = quota.difference(
                quota.server_amounts(server.charge, server.vcpus, server.memory_mib, 0),
                quota.server_amounts(
                    quota.ON if start else server.charge, server.vcpus, server.memory_mib, 0
                ),
            )
            own_password = bool(wanted.admin_password)
            arguments = {
                "image_id": image.id,
                "start": start,
                **self.first_boots.arguments(
                    uuid, config_token, boot, row.config_drive, own_password
                ),
            }
            await self._open(tx, who, server, holdings, request_id, "rebuild", growth, arguments)
            await outbox.tell_servers(tx, (server.id,), always=True)
            # Before the commit: a rebuild without its secrets must not be seen by a loop.
            await self.first_boots.arm(config_token, boot, row.config_drive)
            return Rebuilt(admin_password, image.uuid, wanted.user_data)

        try:
            found: Rebuilt = await self._database.transaction(work, "server.rebuild", turn=who.turn)
        except Exception:
            with suppress(Unavailable):
                await disarm(self._vault, config_token)
            raise
        return found

    async def _image_that_fits(self, tx: Any, who: Who, ref: str, server: Any) -> Any:
        try:
            image = await self._images_flow.usable(tx, who, ref)
        except NotFound:
            raise BadRequest(f"Can not find requested image {ref[:255]}.") from None
        sizes = await procedures.sizes(tx, server.id)
        disk_gib = await procedures.root_disk_gib(tx, server.id)
        if sizes.disk_template != "diskless" and disk_gib < image.min_disk_gib:
            raise BadRequest(
                f"The server has {disk_gib} GiB of disk; the image needs {image.min_disk_gib}."
            )
        if server.memory_mib < image.min_memory_mib:
            raise BadRequest(
                f"The server has {server.memory_mib} MiB of memory; the image needs"
                f" {image.min_memory_mib}."
            )
        return image

    async def _public_key(self, tx: Any, who: Who, server: Any, wanted: Rebuild) -> str | None:
        if not wanted.sets_key:
            name = await tx.value("select key_name from server where id = %s", (server.id,))
            return await keypairs.public_key(tx, server.user_id, name) if name else None
        if wanted.key_name is None:
            return None
        found = await keypairs.public_key(tx, who.user_id, wanted.key_name)
        if found is None:
            raise BadRequest(f"Invalid key_name provided: there is no key {wanted.key_name!r}.")
        return found

    async def _write_details(self, tx: Any, server: Any, wanted: Rebuild) -> None:
        columns: dict[str, Any] = {
            name: wanted.columns[name] for name in _COLUMNS if name in wanted.columns
        }
        if wanted.sets_key:
            columns["key_name"] = wanted.key_name
        if wanted.sets_user_data:
            columns["user_data"] = self.first_boots.seal(str(server.uuid), wanted.user_data)
        if columns:
            assignments = ", ".join(f"{column} = %({column})s" for column in columns)
            await tx.run(
                f"update server set {assignments} where id = %(id)s",
                {**columns, "id": server.id},
            )
        if wanted.metadata is not None:
            await tx.run("delete from server_metadata where server_id = %s", (server.id,))
            await servers.set_metadata(tx, server.id, wanted.metadata)
