"""Signed URLs: good for one image, for some time, and for nothing else."""

from __future__ import annotations

from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclades_tx.image_store.signing import OURS, Signer, as_it_is

BASE = "http://cloud.example/vmapi"
NEW, OLD = b"n" * 32, b"o" * 32
UUID = "0e1b1fa3-ea9e-4e3c-a1d3-bf5e11e0f9b1"


class Now:
    """A clock of one's own."""

    def __init__(self) -> None:
        self.seconds = 1000.5

    def __call__(self) -> float:
        """The time."""
        return self.seconds


def parts(url: str) -> tuple[str, str, str]:
    """UUID, end and signature of a URL."""
    assert url.startswith(BASE + "/v1.0/images/")
    uuid, expires, signature = url.removeprefix(BASE + "/v1.0/images/").split("/")
    return uuid, expires, signature


def test_a_url_is_good_until_its_time() -> None:
    """Not a second longer."""
    now = Now()
    signer = Signer([NEW], BASE, 60, now)
    uuid, expires, signature = parts(signer.url(UUID))
    assert signer.holds(uuid, expires, signature)
    now.seconds = int(expires) - 0.1
    assert signer.holds(uuid, expires, signature)
    now.seconds = int(expires)
    assert not signer.holds(uuid, expires, signature)


def test_a_signature_is_good_for_nothing_else() -> None:
    """Not for another image, not for longer, not with a part of it changed."""
    now = Now()
    signer = Signer([NEW], BASE, 60, now)
    uuid, expires, signature = parts(signer.url(UUID))
    assert not signer.holds(str(uuid4()), expires, signature)
    assert not signer.holds(uuid, str(int(expires) + 1), signature)
    assert not signer.holds(uuid.upper(), expires, signature)
    assert not signer.holds(uuid.replace("-", ""), expires, signature)
    assert not signer.holds(uuid, "0" + expires, signature)
    assert not signer.holds(uuid, f" {expires}", signature)
    for place in range(len(signature)):
        other = "A" if signature[place] != "A" else "B"
        changed = signature[:place] + other + signature[place + 1 :]
        assert not signer.holds(uuid, expires, changed)
    assert not signer.holds(uuid, expires, signature[:-1])
    assert not signer.holds(uuid, expires, "")
    assert not Signer([OLD], BASE, 60, now).holds(uuid, expires, signature)


def test_the_older_keys_are_believed_too() -> None:
    """A new key in front of the ring breaks no URL that is on its way."""
    now = Now()
    old, ring = Signer([OLD], BASE, 60, now), Signer([NEW, OLD], BASE, 60, now)
    assert ring.holds(*parts(old.url(UUID)))
    assert not old.holds(*parts(ring.url(UUID)))


def test_only_our_own_locations_are_signed() -> None:
    """Others are what they are."""
    signer = Signer([NEW], BASE, 60, Now())
    assert signer.locate(None) is None
    assert signer.locate("/srv/images/debian") == "/srv/images/debian"
    assert signer.holds(*parts(signer.locate(OURS + UUID) or ""))
    assert as_it_is("x") == "x"


def test_no_key_is_told() -> None:
    """Neither by its text nor by a URL."""
    signer = Signer([NEW], BASE, 60, Now())
    assert "nnn" not in repr(signer)


@pytest.mark.parametrize("base", [BASE])
@given(st.text(), st.text(), st.text())
def test_no_text_is_believed(base: str, uuid: str, expires: str, signature: str) -> None:
    """And none makes it stumble."""
    assert not Signer([NEW], base, 60, Now()).holds(uuid, expires, signature)
