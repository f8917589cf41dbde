"""Sealing secrets at rest anew, under the newest key of the ring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cyclades_tx.ganeti.credentials import Keyring, SealBroken
from cyclades_tx.store import sealed


@dataclass(frozen=True)
class Resealed:
    """What was done for one kind of secret.

    :ivar broken: which could not be opened, as sentences.
    """

    kind: str
    done: int
    current: int
    broken: tuple[str, ...]


async def reseal(database: Any, keyring: Keyring) -> list[Resealed]:
    """Seal every secret that is under an older key anew; running it again is harmless."""
    outcomes = []
    for kind in sealed.KINDS:
        done = current = 0
        broken = []
        for row in await sealed.everything(database, kind):
            old = bytes(row.sealed)
            if not keyring.needs_rotation(old):
                current += 1
                continue
            try:
                new = keyring.encrypt(kind, row.row, keyring.decrypt(kind, row.row, old))
            except SealBroken as error:
                broken.append(error.message)
                continue
            # Who changed it meanwhile sealed it with the newest key, or comes again next time.
            done += await sealed.replace(database, kind, row.id, old, new)
        outcomes.append(Resealed(kind, done, current, tuple(broken)))
    return outcomes


async def older(database: Any, keyring: Keyring) -> int:
    """How many secrets are under an older key than the newest."""
    return sum(
        [
            keyring.needs_rotation(bytes(row.sealed))
            for kind in sealed.KINDS
            for row in await sealed.everything(database, kind)
        ]
    )
