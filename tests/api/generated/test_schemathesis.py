"""Schemathesis over every document: by a member, an administrator, somebody and nobody."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.threads import deferToThread

from cyclades_tx.api.openapi import Reference
from cyclades_tx.api.reference import REFERENCES, endpoints
from tests.api.generated.asked import Asker, Person, document, others
from tests.api.generated.two_projects import TwoProjects

#: Those of Compute between which operations come and go, the newest first.
MINORS = {"compute": (96, 52, 1), "volume": (71,)}
BY_NAME = {reference.title.lower(): reference for reference in REFERENCES}
#: Routes that belong to no document: version lists, the door of new machines and that of the
#: operators' commands, the sign of life.
OUTSIDE = {
    *(("GET", path) for path in ("/", "/compute", "/identity", "/image", "/network", "/volume")),
    ("GET", "/healthz"),
    ("GET", "/image/versions"),
    ("GET", "/vmapi/v1.0/server-params/<token>"),
    ("GET", "/vmapi/v1.0/nocloud/<token>/<name>"),
    ("GET", "/vmapi/v1.0/images/<uuid>/<expires>/<signature>"),
    ("POST", "/operator/v1/servers"),
}


async def ask(
    two: TwoProjects, service: str, person: Person, right: int, wrong: int
) -> set[tuple[str, str]]:
    """Ask everything of a service as somebody; what was asked."""
    reference = BY_NAME[service]
    tried: set[tuple[str, str]] = set()
    for minor in MINORS.get(service, (0,)):
        described = document(two.frame, reference, minor, two.base, person.admin)
        asker = Asker(two, minor, person)
        # Hypothesis calls functions that return when they are done: it waits in a thread.
        findings = await deferToThread(asker.run, described, right, wrong, tried)
        findings.check()
        tried = tried | findings.tried
        right, wrong = 1, 0
    return tried


def routes(two: TwoProjects, reference: Reference) -> set[tuple[str, str]]:
    """Every route of the router below a service's prefix, as documents write paths."""
    found = set()
    for rule in two.frame.klein.url_map.iter_rules():
        path = "".join(
            f"{{{text}}}" if dynamic else text for dynamic, text in rule._trace if text != "|"
        )
        inside = path == reference.prefix or path.startswith(reference.prefix + "/")
        for method in rule.methods - {"HEAD", "OPTIONS"} if inside else ():
            found.add((method, path))
    return found


@pytest.mark.parametrize("service", sorted(BY_NAME))
async def test_members_see_what_the_document_says_and_nothing_of_others(
    two: TwoProjects, service: str
) -> None:
    """Every route of the router: no 5xx, no reply outside its schema, no word of others.

    With a good token, a wrong one and none. Afterwards the other project has what it had.
    """
    before = await two.rows_of(two.theirs)
    member = Person("member", two.mine.token)
    assert await ask(two, service, member, right=3, wrong=1) == routes(two, BY_NAME[service])
    assert await two.rows_of(two.theirs) == before


@pytest.mark.parametrize("service", sorted(BY_NAME))
async def test_administrators_see_what_the_document_says(two: TwoProjects, service: str) -> None:
    """The same for who may do everything, to both projects."""
    admin = Person("admin", two.admin.token, admin=True)
    assert await ask(two, service, admin, right=1, wrong=1) == routes(two, BY_NAME[service])


def test_every_route_is_in_a_document_or_outside_on_purpose(two: TwoProjects) -> None:
    """Nothing is served that the generated requests do not reach."""
    known = set()
    for reference in REFERENCES:
        known |= {(each.method, each.path) for each, _ in reference.entries(two.frame.endpoints)}
        known |= {(each.method, each.path) for each in others(two.frame, reference)}
    assert {(each.method, each.path) for each in two.frame.endpoints} == known | OUTSIDE


def loose(schema: Any, place: str) -> list[str]:
    """Where in a schema anything may stand."""
    if not isinstance(schema, dict):
        return []
    kinds = schema.get("type", ())
    found = []
    if not schema or ("object" in kinds and "additionalProperties" not in schema):
        found.append(place)
    if kinds == "array" and "items" not in schema and schema.get("maxItems") != 0:
        found.append(place)
    for word in ("anyOf", "oneOf"):
        for number, each in enumerate(schema.get(word, ())):
            found += loose(each, f"{place}.{word}[{number}]")
    for name, each in schema.get("properties", {}).items():
        found += loose(each, f"{place}.{name}")
    found += loose(schema.get("items"), f"{place}[]")
    return found + loose(schema.get("additionalProperties"), f"{place}{{}}")


@pytest.mark.parametrize("service", sorted(BY_NAME))
def test_no_reply_may_hold_just_anything(service: str) -> None:
    """In every microversion: objects with properties that nobody has named are not allowed."""
    reference, frame = BY_NAME[service], endpoints()
    found: set[str] = set()
    for minor in range(1, 97) if reference.versions else (0,):
        for each, said in reference.entries(frame.endpoints):
            whole = each.path.endswith(("/openapi.json", "/schemas/<name>"))
            if said is None or said.reply is None or whole:
                continue
            for admin in (False, True):
                found |= {
                    f"{each.method} {each.path}: {place}"
                    for place in loose(said.reply(minor, admin), "$")
                }
    assert not found, "\n".join(sorted(found))
