"""What a person can ask for about key pairs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.threads import deferToThread

from cyclades_tx.errors import Conflict, Forbidden, NotFound
from cyclades_tx.model.keypair import GeneratedKey, PublicKey, generate, read
from cyclades_tx.model.who import Who
from cyclades_tx.store import keypairs

#: Of one user.
MOST = 100


@dataclass(frozen=True)
class NewKeyPair:
    """What a creation gives back; a private key only when we made it."""

    name: str
    user_id: str
    public_key: str
    fingerprint: str
    private_key: str | None = field(default=None, repr=False)


class KeyPairs:
    """The flows of key pairs.

    :param in_thread: runs a function outside the reactor's thread.
    """

    def __init__(
        self,
        database: Any,
        in_thread: Callable[..., Awaitable[Any]] = deferToThread,
    ) -> None:
        self._database = database
        self._in_thread = in_thread

    async def create(
        self, who: Who, name: str, public_key: str | None, user_id: str | None = None
    ) -> NewKeyPair:
        """Keep a public key under a name, or make a pair and hand out its private half once.

        :param user_id: whose it will be; only an administrator may name someone else.
        :raise BadRequest: for a text that is no key.
        :raise Conflict: when the name is taken.
        :raise Forbidden: when the user has as many as one may have.
        """
        owner = self._owner(who, user_id)
        private_key = None
        if public_key is None:
            made: GeneratedKey = await self._in_thread(generate)
            key, private_key = made.public, made.private_key
        else:
            key = await self._read(public_key)

        async def work(tx: Any) -> None:
            if not await keypairs.lock_owner(tx, owner):
                raise NotFound(f"User {owner} could not be found.", "user")
            if not await keypairs.insert(tx, owner, name, key.text, key.fingerprint):
                raise Conflict(f"Key pair '{name}' already exists.")
            if await keypairs.count(tx, owner) > MOST:
                raise Forbidden("Quota exceeded, too many key pairs.")

        await self._database.transaction(work, "keypair.create")
        return NewKeyPair(name, owner, key.text, key.fingerprint, private_key)

    async def delete(self, who: Who, name: str, user_id: str | None = None) -> None:
        """Forget a key pair; servers that were made with it keep it.

        :raise NotFound: when there is none of that name.
        """
        owner = self._owner(who, user_id)
        if not await keypairs.delete(self._database, owner, name):
            raise NotFound(f"Keypair {name} not found for user {owner}", "keypair")

    async def _read(self, text: str) -> PublicKey:
        # A large RSA key takes its time.
        found: PublicKey = await self._in_thread(read, text)
        return found

    @staticmethod
    def _owner(who: Who, user_id: str | None) -> str:
        if user_id is None or user_id == who.user_id:
            return who.user_id
        if not who.admin:
            raise Forbidden("Only administrators see the key pairs of others.")
        return user_id
