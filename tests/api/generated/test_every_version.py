"""What is read, in every microversion: each reply has exactly the members of its schema."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
import requests
from twisted.internet.threads import deferToThread

from cyclades_tx.api.openapi import REFUSED, Described
from tests.api.generated.asked import Known
from tests.api.generated.test_schemathesis import BY_NAME
from tests.api.generated.two_projects import Side, TwoProjects

#: Where a member's own things give no document: the volume that no server has, a ticket that nobody
#: asked for, and what the members of an image are not told.
NOTHING_THERE = {
    "/servers/<server_id>/os-volume_attachments/<volume_id>",
    "/os-console-auth-tokens/<token>",
    "/images/<ref>/members/<member>",
    "/types/<type_id>/extra_specs/<key>",
    "/domains/<item_id>",
}
#: What a member may not ask for without saying whose, and an administrator does not find.
WHOSE = {
    "/identity/v3/projects": "?name={project}",
    "/identity/v3/users": "?name={user}",
    "/identity/v3/role_assignments": "?user.id={user_id}&include_names",
    "/compute/v2.1/os-keypairs/<name>": "?user_id={owner_id}",
}


def read(two: TwoProjects, service: str, side: Side, known: Known) -> list[str]:
    """Read everything of a service as somebody; what is wrong with the replies."""
    reference = BY_NAME[service]
    headers = {"X-Auth-Token": side.token, "X-Subject-Token": side.token}
    admin = "admin" in side.who.roles
    wrong: list[str] = []
    shown: set[str] = set()
    asked: set[str] = set()
    session = requests.Session()
    least, most = reference.versions or (0, 0)
    minors = range(most, least - 1, -1)
    before: dict[str, Any] = {}
    for minor in minors:
        if reference.versions:
            headers["OpenStack-API-Version"] = f"{service} {reference.version(minor)}"
        for each, said in reference.entries(two.frame.endpoints):
            if not _readable(each, said, minor, admin):
                continue
            assert said is not None and said.reply is not None
            schema = said.reply(minor, admin)
            if before.get(each.path) == schema:
                continue
            before[each.path] = schema
            asked.add(each.path)
            path = known.fill(each.path, minor)
            path += WHOSE.get(each.path, "").format(
                project=f"p-{side.who.project_id}",
                user=side.who.user_name,
                user_id=side.who.user_id,
                owner_id=two.mine.who.user_id,
            )
            answer = session.get(two.base + path, headers=headers, timeout=60)
            place = f"{path} of {minor}: {answer.status_code} {answer.text[:300]}"
            if answer.status_code not in (said.status, *said.also):
                continue
            shown.add(each.path)
            wrong += [
                f"{place}: {error.message} at {error.instance_path}"
                for error in jsonschema_rs.validator_for(schema).iter_errors(
                    json.loads(answer.content)
                )
            ]
    session.close()
    missing = asked - shown - {reference.prefix + path for path in NOTHING_THERE}
    return wrong + [f"nothing was shown: {path}" for path in sorted(missing)]


def _readable(each: Any, said: Described | None, minor: int, admin: bool) -> bool:
    return (
        said is not None
        and each.method == "GET"
        and said.reply is not None
        and said.support != REFUSED
        and said.exists(minor)
        and said.content == "application/json"
        and (admin or not each.admin)
    )


@pytest.mark.parametrize("service", sorted(BY_NAME))
async def test_replies_have_exactly_the_members_of_their_microversion(
    two: TwoProjects, service: str
) -> None:
    """Wherever the schema changes from one microversion to the next; nothing is left unread."""
    known = Known(two, two.mine)
    for side in (two.mine, two.admin):
        wrong = await deferToThread(read, two, service, side, known)
        assert not wrong, "\n".join(wrong[:30])
