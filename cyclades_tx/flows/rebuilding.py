"""A new system on a server that is there: its interfaces, its size and its name stay."""

from __future__ import annotations

import base64
import random
from contextlib import suppress
from typing import Any

from cyclades_tx.errors import BadRequest, Forbidden, NotFound, Unavailable
from cyclades_tx.flows.images import Images
from cyclades_tx.flows.server_changes import ServerChanges
from cyclades_tx.ganeti.credentials import Keyring
from cyclades_tx.model import password, quota
from cyclades_tx.model.moves import STOPPED
from cyclades_tx.model.server import (
    MAX_PERSONALITY,
    BootImage,
    NewServer,
    Rebuild,
    Rebuilt,
    first_boot,
)
from cyclades_tx.model.who import Who
from cyclades_tx.sections import GanetiSection, OperationsSection, VmapiSection
from cyclades_tx.store import keypairs, outbox, procedures, servers
from cyclades_tx.vault import ISecretStore

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
    ) -> None:
        super().__init__(database, images_flow, ganeti, deadlines, source)
        self._vault = vault
        self._keyring = keyring
        self._vmapi = vmapi

    async def rebuild(self, who: Who, ref: str, wanted: Rebuild, request_id: str) -> Rebuilt:
        """Wish a server with a new system on its disk, and new first-boot secrets.

        What only the database knows (its name and the like) is changed at once.

        :raise BadRequest: for an image or a key that is not there, or that does not fit.
        """
        if len(wanted.personality) > MAX_PERSONALITY:
            raise Forbidden(f"A server may get at most {MAX_PERSONALITY} files.")
        config_token = self.new_config_token()
        admin_password = wanted.admin_password or password.make(self._source)

        async def work(tx: Any) -> Rebuilt:
            server, holdings = await self._lock_to_change(tx, who, ref, "rebuild", "rebuild")
            uuid = str(server.uuid)
            image = await self._image_that_fits(tx, who, wanted.image_ref, server)
            public_key = await self._public_key(tx, who, server, wanted)
            row = await tx.first(
                "select hostname, user_data from server where id = %s", (server.id,)
            )
            user_data = wanted.user_data if wanted.sets_user_data else self._opened(uuid, row)
            await self._write_details(tx, server, wanted)
            secret = first_boot(
                NewServer(
                    name=server.name,
                    flavor_ref="",
                    personality=wanted.personality,
                    user_data=user_data,
                ),
                wanted.columns.get("hostname") or row.hostname,
                admin_password,
                BootImage(image.location, image.disk_format, image.properties),
                public_key,
            )
            start = server.state != STOPPED
            growth = quota.difference(
                quota.server_amounts(server.charge, server.vcpus, server.memory_mib, 0),
                quota.server_amounts(
                    quota.ON if start else server.charge, server.vcpus, server.memory_mib, 0
                ),
            )
            sealed = self._keyring.encrypt("config_token", uuid, config_token)
            arguments = {"image_id": image.id, "start": start, "config_token": sealed.hex()}
            await self._open(tx, who, server, holdings, request_id, "rebuild", growth, arguments)
            await outbox.tell_servers(tx, (server.id,), always=True)
            # Before the commit: a rebuild without its secrets must not be seen by a loop.
            await self._vault.put(config_token, secret, self._vmapi.secret_lifetime_seconds)
            return Rebuilt(admin_password, image.uuid, wanted.user_data)

        try:
            found: Rebuilt = await self._database.transaction(work, "server.rebuild", turn=who.turn)
        except Exception:
            with suppress(Unavailable):
                await self._vault.drop(config_token)
            raise
        return found

    def new_config_token(self) -> str:
        """The name of a first boot's document, which nobody can guess."""
        token = base64.urlsafe_b64encode(self._source.getrandbits(256).to_bytes(32, "big"))
        return token.decode().rstrip("=")

    def _opened(self, uuid: str, row: Any) -> bytes | None:
        if row.user_data is None:
            return None
        return bytes.fromhex(self._keyring.decrypt("user_data", uuid, row.user_data))

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
            data = wanted.user_data
            columns["user_data"] = (
                None
                if data is None
                else self._keyring.encrypt("user_data", str(server.uuid), data.hex())
            )
        if columns:
            assignments = ", ".join(f"{column} = %({column})s" for column in columns)
            await tx.run(
                f"update server set {assignments} where id = %(id)s",
                {**columns, "id": server.id},
            )
        if wanted.metadata is not None:
            await tx.run("delete from server_metadata where server_id = %s", (server.id,))
            await servers.set_metadata(tx, server.id, wanted.metadata)
