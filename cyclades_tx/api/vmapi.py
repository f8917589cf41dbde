"""``/vmapi``: what a first boot needs, given out once.

``/vmapi/v1.0/server-params/NAME`` is for the host that installs a machine's system, and
``/vmapi/v1.0/nocloud/TOKEN/FILE`` for the machine itself: cloud-init's data source NoCloud.
There is nobody to log in: whoever knows the URL gets the document, once, and afterwards nobody
does.
"""

from __future__ import annotations

from cyclades_tx.api.call import Call, Handler, Reply, Service
from cyclades_tx.api.errors import nova_fault
from cyclades_tx.api.frame import Frame
from cyclades_tx.errors import NotFound
from cyclades_tx.image_store.signing import Signer
from cyclades_tx.vault import ISecretStore, take_file

SERVICE = Service("vmapi", nova_fault)

#: Longer texts are no tokens of ours.
LONGEST_TOKEN = 128

_NEVER_KEPT = {"cache-control": "no-store"}


def mount(frame: Frame, vault: ISecretStore, images: Handler | None = None) -> None:
    """Add the endpoints to the API.

    :param images: gives out the data of images for signed URLs.
    """

    async def server_params(call: Call, token: str) -> Reply | bytes:
        """Give the parameters out, and forget them."""
        found = await vault.take(token) if _may_take(call, token) else None
        if found is None:
            raise NotFound("There are no parameters here (any more).")
        return Reply(200, found, _NEVER_KEPT)

    async def nocloud(call: Call, token: str, name: str) -> Reply | bytes:
        """Give a file out, and forget it."""
        found = await take_file(vault, token, name) if _may_take(call, token) else None
        if found is None:
            raise NotFound("There is no such file here (any more).")
        return Reply(200, found, _NEVER_KEPT, b"application/octet-stream")

    frame.mount("/vmapi", SERVICE)
    for path, handler in (
        ("/vmapi/v1.0/server-params/<token>", server_params),
        ("/vmapi/v1.0/nocloud/<token>/<name>", nocloud),
    ):
        frame.endpoint(SERVICE, "GET", path, handler, token=False, secret=True)
    if images is not None:
        path = "/vmapi" + Signer.PATH.format("<uuid>", "<expires>", "<signature>")
        frame.endpoint(SERVICE, "GET", path, images, token=False, secret=True)


def _may_take(call: Call, token: str) -> bool:
    # A HEAD would spend the secret without giving it.
    return call.request.method == b"GET" and len(token) <= LONGEST_TOKEN
