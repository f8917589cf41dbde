"""The arithmetic of VNC authentication (RFC 6143, section 7.2.2).

It is DES of a challenge under the first eight characters of a password: weak, and what every
viewer speaks. So a password is good for one opening within a short time, and the tries are few.
"""

from __future__ import annotations

import hmac
import secrets

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

CHALLENGE_BYTES = 16
#: No more than so many characters of a password count.
PASSWORD_CHARACTERS = 8

_TURNED = bytes(int(f"{number:08b}"[::-1], 2) for number in range(256))


def new_challenge() -> bytes:
    """Sixteen random bytes, never the same."""
    return secrets.token_bytes(CHALLENGE_BYTES)


def response(password: str, challenge: bytes) -> bytes:
    """What somebody who knows the password answers.

    :param password: its first eight characters count; what Latin-1 has not, fits nothing that a
        viewer could send, and is taken as UTF-8.
    :param challenge: 16 bytes.
    """
    try:
        text = password.encode("latin-1")
    except UnicodeEncodeError:
        text = password.encode()
    # VNC reads the bits of each byte of the key from the other end.
    key = text[:PASSWORD_CHARACTERS].ljust(PASSWORD_CHARACTERS, b"\0").translate(_TURNED)
    # Three times the same key: plain DES.
    encryptor = Cipher(TripleDES(key * 3), modes.ECB()).encryptor()
    return encryptor.update(challenge) + encryptor.finalize()


def fits(password: str, challenge: bytes, answer: bytes) -> bool:
    """Whether the answer was made with the password; compared in constant time."""
    return hmac.compare_digest(response(password, challenge), answer)
