"""What a new machine is told once: put away, found again after a restart, forgotten."""

from __future__ import annotations

import base64
import random
from dataclasses import replace
from typing import Any

from cyclades_tx import vault
from cyclades_tx.ganeti.credentials import Keyring, SealBroken
from cyclades_tx.image_store.signing import Locate, as_it_is
from cyclades_tx.model.first_boot import FirstBoot
from cyclades_tx.model.operation import Operation
from cyclades_tx.model.server import BootImage
from cyclades_tx.store import first_boots

#: Told with the end of a creation or a rebuild whose password went with a restart.
REARMED = (
    "The service was restarted before the machine was made: the password in the reply was lost"
    " and is not set. Log in with the key pair."
)


class FirstBoots:
    """The flow of first boots.

    :param keyring: opens tokens and user data.
    :param lifetime_seconds: how long the documents wait to be fetched.
    :param url: where machines and hosts fetch them.
    :param locate: says from where a cluster gets an image.
    """

    def __init__(
        self,
        database: Any,
        store: vault.ISecretStore,
        keyring: Keyring,
        lifetime_seconds: float,
        url: str,
        source: random.Random,
        locate: Locate = as_it_is,
    ) -> None:
        self._database = database
        self._store = store
        self._keyring = keyring
        self._lifetime_seconds = lifetime_seconds
        self._url = url
        self._source = source
        self._locate = locate

    def new_token(self) -> str:
        """The name of a first boot's documents, which nobody can guess."""
        bits = self._source.getrandbits(256).to_bytes(32, "big")
        return base64.urlsafe_b64encode(bits).decode().rstrip("=")

    def arguments(
        self, uuid: str, token: str, boot: FirstBoot, nocloud: bool, own_password: bool
    ) -> dict[str, Any]:
        """What the operation keeps of a first boot; it holds no secret that can be read.

        :param own_password: whether the person has chosen the password.
        """
        sealed = self._keyring.encrypt("config_token", uuid, token)
        kept: dict[str, Any] = {"config_token": sealed.hex()}
        if nocloud:
            kept["nocloud"] = True
        if boot.public_key is not None and not boot.personality and not own_password:
            # Nothing that somebody gave us would be missing from a second one.
            kept["rearm"] = True
        return kept

    async def arm(self, token: str, boot: FirstBoot, nocloud: bool) -> None:
        """Put the documents away.

        :param nocloud: whether the machine itself will ask, too.
        :raise BadRequest: when they are too large.
        :raise Unavailable: when the secret store does not keep them.
        """
        url = f"{self._url}/v1.0/nocloud/{token}/" if nocloud else None
        files = boot.nocloud() if nocloud else {}
        boot = replace(boot, image=replace(boot.image, location=self._locate(boot.image.location)))
        await vault.arm(self._store, token, boot.parameters(url), files, self._lifetime_seconds)

    async def rearm(self, operation: Operation) -> str:
        """Put the documents of an operation away again, without the password that was lost.

        :return: what to tell the person; empty when something else would be missing as well.
        """
        sealed = operation.arguments.get("config_token")
        if not operation.arguments.get("rearm") or not isinstance(sealed, str):
            return ""
        assert operation.server_id is not None
        image_id = operation.arguments.get("image_id")
        row = await first_boots.known_of(self._database, operation.server_id, image_id)
        if row is None:
            return ""
        try:
            token = self._keyring.decrypt("config_token", row.uuid, bytes.fromhex(sealed))
            user_data = self.opened(row.uuid, row.user_data)
        except SealBroken:
            return ""
        boot = FirstBoot(
            instance_id=row.uuid,
            hostname=row.hostname,
            image=BootImage(row.location, row.disk_format, row.properties),
            password=None,
            public_key=row.public_key,
            user_data=user_data,
            links=await first_boots.links_of(self._database, operation.server_id),
        )
        await self.arm(token, boot, bool(operation.arguments.get("nocloud")))
        return REARMED

    def seal(self, uuid: str, user_data: bytes | None) -> bytes | None:
        """User data as the database keeps it."""
        if user_data is None:
            return None
        return self._keyring.encrypt("user_data", uuid, user_data.hex())

    def opened(self, uuid: str, sealed: Any) -> bytes | None:
        """User data that the database has kept."""
        if sealed is None:
            return None
        return bytes.fromhex(self._keyring.decrypt("user_data", uuid, bytes(sealed)))
