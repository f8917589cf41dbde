"""What a person can ask for about the sharing of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cyclades_tx.errors import BadRequest, Conflict, Forbidden, NotFound, TooLarge
from cyclades_tx.model.image import MEMBER_STATES, MOST_MEMBERS
from cyclades_tx.model.who import Who
from cyclades_tx.store import image_members as members
from cyclades_tx.store import images as store


class ImageMembers:
    """The flows of the projects that images are shared with."""

    def __init__(self, database: Any) -> None:
        self._database = database

    async def add(
        self, who: Who | None, ref: str, project_id: str, status: str = "pending"
    ) -> None:
        """Share an image with a project, which then may accept it.

        :param who: None: the operator.
        :param status: what the project says to it from the beginning.
        :raise NotFound: when the caller sees no such image.
        :raise Forbidden: when it is another project's, or not one that is shared.
        :raise BadRequest: when there is no such project.
        :raise Conflict: when it is shared with it already.
        :raise TooLarge: when it is shared with as many as it may.
        """
        _check_status(status)

        async def work(tx: Any) -> None:
            row = await self._own(tx, who, ref)
            if row.visibility != "shared":
                raise Forbidden("Only shared images have members.")
            await store.check_project(tx, project_id)
            if not await members.insert(tx, row.id, project_id, status):
                raise Conflict(f"Image {row.uuid} is shared with project {project_id} already.")
            if await members.count(tx, row.id) > MOST_MEMBERS:
                raise TooLarge(f"An image is shared with at most {MOST_MEMBERS} projects.")

        await self._database.transaction(work, "image.share")

    async def answer(self, who: Who, ref: str, project_id: str, status: str) -> None:
        """Say whether a project wants to see an image in its lists; itself, or an administrator.

        :param status: ``pending``, ``accepted`` or ``rejected``.
        :raise NotFound: when the image is not shared with that project, as far as one sees.
        :raise Forbidden: when it is the owner who would answer for others.
        """
        _check_status(status)

        async def work(tx: Any) -> None:
            row = await store.seen(tx, who, ref, lock=True)
            if not who.admin and who.project_id != project_id:
                if row.project_id == who.project_id:
                    raise Forbidden("You are not permitted to modify 'status' of this member.")
                raise _missing(project_id, ref)
            if not await members.answer(tx, row.id, project_id, status):
                raise _missing(project_id, ref)

        await self._database.transaction(work, "image.answer")

    async def remove(self, who: Who | None, ref: str, project_id: str) -> None:
        """Share an image with a project no longer; its servers stay.

        :param who: None: the operator.
        :raise NotFound: when it is not shared with it.
        :raise Forbidden: when the image is another project's.
        """

        async def work(tx: Any) -> None:
            row = await self._own(tx, who, ref)
            if not await members.delete(tx, row.id, project_id):
                raise _missing(project_id, ref)

        await self._database.transaction(work, "image.unshare")

    async def everyone(self, ref: str) -> Sequence[Any]:
        """Whom an image is shared with, for the operator."""
        row = await store.seen(self._database, None, ref)
        return await members.everyone(self._database, row.id)

    async def _own(self, tx: Any, who: Who | None, ref: str) -> Any:
        row = await store.seen(tx, who, ref, lock=True)
        if who is not None and not who.admin and row.project_id != who.project_id:
            raise Forbidden(f"You are not permitted to share image {row.uuid}.")
        return row


def _check_status(status: str) -> None:
    if status not in MEMBER_STATES:
        raise BadRequest(
            f"{status[:80]!r} is no answer to a shared image: use one of"
            f" {', '.join(MEMBER_STATES)}."
        )


def _missing(project_id: str, ref: str) -> NotFound:
    return NotFound(
        f"{project_id[:80]} not found in the member list of the image {ref[:80]}.", "member"
    )
