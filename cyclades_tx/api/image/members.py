"""Members of images: the projects that they are shared with."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.documents import many
from cyclades_tx.api.image.documents import MEMBER
from cyclades_tx.errors import NotFound
from cyclades_tx.flows.image_members import ImageMembers
from cyclades_tx.model.image import MemberStatus
from cyclades_tx.store import images as store


class NewMember(Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of a POST.

    :ivar member: the id of the project.
    """

    member: Annotated[str, Meta(min_length=1, max_length=255)]


class Answer(Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of a PUT: what a project says to an image that is shared with it.

    :ivar member: the project, as openstacksdk repeats it; the path says which one.
    """

    status: MemberStatus
    member: str | UnsetType = UNSET


_NEW = msgspec.json.Decoder(NewMember)
_ANSWER = msgspec.json.Decoder(Answer)


class Members:
    """The endpoints of members.

    :param members: the flows.
    """

    def __init__(self, database: Any, members: ImageMembers) -> None:
        self._database = database
        self._members = members

    async def list_all(self, call: Call, ref: str) -> bytes:
        """Whom an image is shared with: all for its project, a member sees itself."""
        row = await store.seen(self._database, call.who, ref)
        who = call.who
        document: bytes = await self._database.document(
            f"select '{{\"members\": ' || {many(MEMBER.text(), 'image_member.project_id')} ||"
            ' \', "schema": "/v2/schemas/members"}\' from image_member'
            " join image on image.id = image_member.image_id where image.id = %s::bigint"
            " and (%s::boolean or %s::text in (image.project_id, image_member.project_id))",
            (row.id, who.admin, who.project_id),
        )
        return document

    async def show(self, call: Call, ref: str, member: str) -> bytes:
        """One project that an image is shared with."""
        row = await store.seen(self._database, call.who, ref)
        who = call.who
        document: bytes | None = await self._database.document(
            f"select {MEMBER.text()} from image_member"
            " join image on image.id = image_member.image_id where image.id = %s::bigint"
            " and image_member.project_id = %s::text"
            " and (%s::boolean or %s::text in (image.project_id, image_member.project_id))",
            (row.id, member, who.admin, who.project_id),
        )
        if document is None:
            raise NotFound(f"{member} not found in the member list of the image {ref}.", "member")
        return document

    async def create(self, call: Call, ref: str) -> Reply:
        """Share an image with a project; 200."""
        await store.seen(self._database, call.who, ref)
        body = call.json(_NEW)
        await self._members.add(call.who, ref, body.member)
        return Reply(200, await self.show(call, ref, body.member))

    async def update(self, call: Call, ref: str, member: str) -> Reply:
        """Accept or reject an image that is shared; 200."""
        await store.seen(self._database, call.who, ref)
        body = call.json(_ANSWER)
        await self._members.answer(call.who, ref, member, body.status)
        return Reply(200, await self.show(call, ref, member))

    async def delete(self, call: Call, ref: str, member: str) -> Reply:
        """Share an image with a project no longer; 204."""
        await self._members.remove(call.who, ref, member)
        return Reply(204)
