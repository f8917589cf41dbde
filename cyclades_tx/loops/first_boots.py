"""The one-time secrets of creations and rebuilds: whether they wait, and when they go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from twisted.logger import Logger

from cyclades_tx.errors import CycladesError
from cyclades_tx.loops.cluster import ClusterWork
from cyclades_tx.model.operation import FAILED, SUCCEEDED, Operation
from cyclades_tx.store import operations
from cyclades_tx.vault import ISecretStore, armed, disarm

#: Puts what is left of the secrets of an operation away again; what to tell its person, if it did.
Rearm = Callable[[Operation], Awaitable[str]]

KINDS = ("create", "rebuild")

_ORPHANED = (
    "The service was restarted meanwhile: secrets of the first boot that had not been read were"
    " lost with it."
)


async def never_again(operation: Operation) -> str:
    """Lost secrets are lost."""
    return ""


class Secrets:
    """Looks after the secrets of one cluster's operations.

    :param token_of: the token of an operation's first boot, or None.
    """

    log = Logger()

    def __init__(
        self,
        work: ClusterWork,
        vault: ISecretStore,
        token_of: Callable[[Operation], Awaitable[str | None]],
        rearm: Rearm,
    ) -> None:
        self._work = work
        self._vault = vault
        self._token_of = token_of
        self._rearm = rearm

    async def there(self, operation: Operation) -> bool:
        """Whether they wait to be read, if need be once more."""
        token = await self._token_of(operation)
        if token is None:
            return False
        if await armed(self._vault, token, bool(operation.arguments.get("nocloud"))):
            return True
        said = await self._rearm(operation)
        if said:
            lease = self._work.lease

            async def write(tx: Any) -> None:
                await operations.check_epoch(tx, lease.cluster_id, lease.epoch)
                await operations.remember(tx, operation.id, "told_at_end", said)

            await self._work.database.transaction(write, "server.rearm")
            self.log.info("operation.rearmed", operation_id=operation.id, kind=operation.kind)
        return bool(said)

    async def drop(self, operation: Operation, end: str) -> None:
        """Forget them: the host asks no more. The machine itself may, if there is one.

        What cannot be dropped now expires.
        """
        if operation.kind not in KINDS:
            return
        with suppress(CycladesError):
            token = await self._token_of(operation)
            if token is not None:
                files = bool(operation.arguments.get("nocloud")) and end != SUCCEEDED
                await disarm(self._vault, token, files)

    def told(self, operation: Operation, end: str, reason: str) -> str:
        """What the end of an operation says, with what became of its secrets."""
        if operation.kind not in KINDS or "config_token" not in operation.arguments:
            return reason
        if end == SUCCEEDED and not reason:
            return str(operation.arguments.get("told_at_end", ""))
        if end == FAILED and operation.job_id is not None and self._orphaned(operation):
            return f"{reason} {_ORPHANED}"
        return reason

    def _orphaned(self, operation: Operation) -> bool:
        """Whether they went with the process that had put them away."""
        lost_before = self._vault.lost_before()
        return lost_before is not None and operation.created_at.timestamp() < lost_before
