"""With which projects an image is shared, and what they say to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


async def count(tx: Any, image_id: int) -> int:
    """With how many projects an image is shared."""
    found: int = await tx.value(
        "select count(*) from image_member where image_id = %s", (image_id,)
    )
    return found


async def insert(tx: Any, image_id: int, project_id: str, status: str = "pending") -> bool:
    """Share an image with a project; return whether it was not shared with it yet."""
    made: int = await tx.run(
        "insert into image_member (image_id, project_id, status) values (%s, %s, %s)"
        " on conflict do nothing",
        (image_id, project_id, status),
    )
    return made > 0


async def answer(tx: Any, image_id: int, project_id: str, status: str) -> bool:
    """Write what a project says to an image; return whether it is shared with it at all."""
    changed: int = await tx.run(
        "update image_member set status = %s, updated_at = now()"
        " where image_id = %s and project_id::text = %s",
        (status, image_id, project_id),
    )
    return changed > 0


async def delete(tx: Any, image_id: int, project_id: str) -> bool:
    """Share an image with a project no longer; return whether it was."""
    gone: int = await tx.run(
        "delete from image_member where image_id = %s and project_id::text = %s",
        (image_id, project_id),
    )
    return gone > 0


async def everyone(tx: Any, image_id: int) -> Sequence[Any]:
    """Whom an image is shared with: rows with ``project_id``, ``name`` and ``status``."""
    found: Sequence[Any] = await tx.all(
        "select m.project_id::text, p.name, m.status from image_member m"
        " join project p on p.id = m.project_id where m.image_id = %s order by p.name, p.id",
        (image_id,),
    )
    return found
