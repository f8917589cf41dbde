"""What a first boot is told of an image whose bytes are ours: a signed URL."""

from __future__ import annotations

import json
import random
from typing import Any

from cyclades_tx.flows.first_boot import FirstBoots
from cyclades_tx.ganeti.credentials import Keyring
from cyclades_tx.image_store.signing import OURS, Signer
from cyclades_tx.model.first_boot import FirstBoot
from cyclades_tx.model.server import BootImage
from cyclades_tx.vault import MemorySecretStore, params_name

UUID = "0e1b1fa3-ea9e-4e3c-a1d3-bf5e11e0f9b1"


async def test_the_document_names_a_url_that_is_good() -> None:
    """And other locations as they are."""
    from twisted.internet import reactor

    clock: Any = reactor
    keyring = Keyring([b"k" * 32])
    signer = Signer(keyring.derived("image urls"), "http://x/vmapi", 600, clock.seconds)
    store = MemorySecretStore(clock)
    boots = FirstBoots(None, store, keyring, 60, "http://x", random.Random(1), signer.locate)
    told = []
    for location in (OURS + UUID, "file:debian-12", None):
        image = BootImage(location, "raw", {})
        boot = FirstBoot(instance_id=UUID, hostname="h", image=image, password="hush")
        token = boots.new_token()
        await boots.arm(token, boot, nocloud=False)
        document = await store.take(params_name(token))
        told.append(json.loads(document or b"")["img_id"])
    uuid, expires, signature = told[0].removeprefix("http://x/vmapi/v1.0/images/").split("/")
    assert uuid == UUID
    assert signer.holds(uuid, expires, signature)
    assert told[1:] == ["file:debian-12", "null"]
    store.close()


def test_keys_for_one_use_tell_nothing_of_those_for_another() -> None:
    """Each key of the ring gives its own, the newest first."""
    ring, old = Keyring([b"n" * 32, b"o" * 32]), Keyring([b"o" * 32])
    assert ring.derived("a")[1:] == old.derived("a")
    assert len({*ring.derived("a"), *ring.derived("b"), b"n" * 32, b"o" * 32}) == 6
