"""Who may ask a stand-alone proxy for forwardings: a file of names and hashes.

One ``NAME:$6$SALT$HASH`` a line, as ``openssl passwd -6`` and the original's tool write it: SHA-512
crypt, which Python no longer has (Ulrich Drepper, "Unix crypt using SHA-256 and SHA-512").
"""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path

_LINE = re.compile(
    r"([a-z_][a-z0-9_]{0,30}):\$6\$(?:rounds=(\d{4,9})\$)?([./0-9A-Za-z]{1,16})\$([./0-9A-Za-z]{86})"
)
_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_USUAL_ROUNDS = 5000
_LEAST_ROUNDS = 1000
#: A hash that takes longer is no protection but a nuisance.
_MOST_ROUNDS = 1_000_000
#: No password is longer; the work grows with it.
MOST_PASSWORD_BYTES = 256
#: Compared with when there is no such user, so that both take the same time.
_NOBODY = ("nobodyssalt", _USUAL_ROUNDS, "." * 86)


class BadUsers(Exception):
    """The file cannot be used; the message says why, and never holds a line of it."""


class Users:
    """The users of a file.

    :param text: the lines; empty ones and those that begin with ``#`` do not count.
    :raise BadUsers: when a line is not understood.
    """

    def __init__(self, text: str) -> None:
        self._users: dict[str, tuple[str, int, str]] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            found = _LINE.fullmatch(line.strip())
            if found is None:
                raise BadUsers(f"line {number} is not NAME:$6$SALT$HASH")
            name, said, salt, hashed = found.groups()
            rounds = max(_LEAST_ROUNDS, int(said)) if said else _USUAL_ROUNDS
            if rounds > _MOST_ROUNDS:
                raise BadUsers(f"line {number} has more than {_MOST_ROUNDS} rounds")
            self._users[name] = (salt, rounds, hashed)

    @classmethod
    def load(cls, path: str) -> Users:
        """Read a file.

        :raise BadUsers: when it cannot be read, or a line is not understood.
        """
        try:
            return cls(Path(path).read_text(encoding="ascii"))
        except OSError as error:
            raise BadUsers(f"{path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise BadUsers(f"{path}: not ASCII") from None
        except BadUsers as error:
            raise BadUsers(f"{path}: {error}") from None

    def __len__(self) -> int:
        return len(self._users)

    def knows(self, name: str, password: str) -> bool:
        """Whether a user has this password; takes some milliseconds, for unknown ones too."""
        salt, rounds, hashed = self._users.get(name, _NOBODY)
        encoded = password.encode("utf-8", "surrogatepass")
        if len(encoded) > MOST_PASSWORD_BYTES:
            return False
        return hmac.compare_digest(sha512_crypt(encoded, salt.encode(), rounds), hashed)


def sha512_crypt(password: bytes, salt: bytes, rounds: int = _USUAL_ROUNDS) -> str:
    """The last part of a ``$6$`` hash."""

    def digest(data: bytes) -> bytes:
        return hashlib.sha512(data).digest()

    def stretched(data: bytes, length: int) -> bytes:
        return (data * (length // 64 + 1))[:length]

    inner = digest(password + salt + password)
    mixed = password + salt + stretched(inner, len(password))
    left = len(password)
    while left:
        mixed += inner if left & 1 else password
        left >>= 1
    state = digest(mixed)
    long_password = stretched(digest(password * len(password)), len(password))
    long_salt = stretched(digest(salt * (16 + state[0])), len(salt))
    for number in range(rounds):
        mixed = long_password if number & 1 else state
        if number % 3:
            mixed += long_salt
        if number % 7:
            mixed += long_password
        mixed += state if number & 1 else long_password
        state = digest(mixed)
    return _text(state)


def _text(state: bytes) -> str:
    """The 64 bytes in crypt's own order and alphabet."""
    text = ""
    first, second, third = 0, 21, 42
    for _ in range(21):
        number = state[first] << 16 | state[second] << 8 | state[third]
        for _ in range(4):
            text += _ALPHABET[number & 63]
            number >>= 6
        first, second, third = second + 1, third + 1, first + 1
    return text + _ALPHABET[state[63] & 63] + _ALPHABET[state[63] >> 6]
