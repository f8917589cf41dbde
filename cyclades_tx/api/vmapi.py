"""``/vmapi/v1.0/server-params/TOKEN``: the parameters of a first boot, given out once.

A machine asks while it is being made; there is nobody to log in. Whoever knows the token gets
the document, once, and afterwards nobody does.
"""

from __future__ import annotations

from cyclades_tx.api.call import Call, Reply, Service
from cyclades_tx.api.errors import nova_fault
from cyclades_tx.api.frame import Frame
from cyclades_tx.errors import NotFound
from cyclades_tx.vault import ISecretStore

SERVICE = Service("vmapi", nova_fault)

#: Longer texts are no tokens of ours.
LONGEST_TOKEN = 128


def mount(frame: Frame, vault: ISecretStore) -> None:
    """Add the endpoint to the API."""

    async def server_params(call: Call, token: str) -> Reply | bytes:
        """Give a document out, and forget it."""
        if call.request.method != b"GET":
            # A HEAD would spend the secret without giving it.
            raise NotFound("There are no parameters here.")
        found = await vault.take(token) if len(token) <= LONGEST_TOKEN else None
        if found is None:
            raise NotFound("There are no parameters here (any more).")
        return Reply(200, found, {"cache-control": "no-store"})

    frame.mount("/vmapi", SERVICE)
    frame.endpoint(
        SERVICE, "GET", "/vmapi/v1.0/server-params/<token>", server_params, token=False, secret=True
    )
