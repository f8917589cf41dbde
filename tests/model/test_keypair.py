"""SSH keys: which are taken, and their fingerprints."""

from __future__ import annotations

import base64
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from cyclades_tx.errors import BadRequest
from cyclades_tx.model.keypair import fingerprint, generate, read


def openssh(key):
    """The public half of a private key, as OpenSSH writes it."""
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        .decode()
    )


ED25519 = openssh(ed25519.Ed25519PrivateKey.generate())


@pytest.mark.parametrize(
    "make",
    [
        ed25519.Ed25519PrivateKey.generate,
        lambda: ec.generate_private_key(ec.SECP256R1()),
        lambda: ec.generate_private_key(ec.SECP384R1()),
        lambda: ec.generate_private_key(ec.SECP521R1()),
        lambda: rsa.generate_private_key(65537, 2048),
    ],
)
def test_key_of_each_ordinary_type_is_taken_as_it_stands(make):
    """With a comment and the newline that files end in."""
    text = openssh(make()) + " me@example.org\n"
    assert read(text).text == text


def test_fingerprint_is_md5_of_the_blob_in_pairs():
    """As Compute shows it."""
    blob = base64.b64decode(ED25519.split()[1])
    assert read(ED25519).fingerprint == fingerprint(blob)
    assert fingerprint(b"") == "d4:1d:8c:d9:8f:00:b2:04:e9:80:09:98:ec:f8:42:7e"


def test_key_in_hardware_is_taken():
    """Types that only OpenSSH reads."""

    def field(data):
        return len(data).to_bytes(4, "big") + data

    kind = b"sk-ssh-ed25519@openssh.com"
    blob = field(kind) + field(b"k" * 32) + field(b"ssh:")
    text = f"{kind.decode()} {base64.b64encode(blob).decode()}"
    assert read(text).fingerprint == fingerprint(blob)
    for broken in (blob[:-1], blob + b"x", field(kind) + field(b"")):
        with pytest.raises(BadRequest):
            read(f"{kind.decode()} {base64.b64encode(broken).decode()}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 not-base64",
        "ssh-ed25519 AAAA",
        "ssh-rsa " + ED25519.split()[1],
        "ssh-ed25519 " + ED25519.split()[1][:-8] + "AAAA",
        "x509 AAAA",
        ED25519 + "\n" + ED25519,
        'command="rm" ' + ED25519,
        ED25519 + " \x07",
        "ssh-ed25519 " + "A" * 40_000,
        "ssh-dss AAAAB3NzaC1kc3MAAACBAA==",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
    ],
    # The key is another one in each process, and the names must not be.
    ids=lambda text: text[:11],
)
def test_what_is_no_single_public_key_is_refused(text):
    """With a sentence that says so."""
    with pytest.raises(BadRequest, match="Keypair data is invalid"):
        read(text)


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.text(), st.binary().map(lambda b: "ssh-rsa " + base64.b64encode(b).decode())))
def test_any_text_is_read_or_refused(text):
    """Nothing else comes out of it."""
    with suppress(BadRequest):
        assert read(text).text == text


def test_generated_private_key_belongs_to_its_public_key():
    """As OpenSSH's own tool sees it, and the secret is in no representation."""
    made = generate()
    key = serialization.load_ssh_private_key(made.private_key.encode(), None)
    assert openssh(key) == " ".join(made.public.text.split()[:2])
    assert "PRIVATE" not in repr(made)
