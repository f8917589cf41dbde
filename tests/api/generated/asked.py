"""Requests out of the OpenAPI documents, sent by schemathesis; what is wrong with the replies."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import unquote

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.config import (
    GenerationConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
)

from cyclades_tx.api.call import Endpoint
from cyclades_tx.api.compute.hypervisors import UUIDS_FIRST
from cyclades_tx.api.frame import Frame
from cyclades_tx.api.image.changes import CURRENT, DRAFT
from cyclades_tx.api.openapi import REFUSED, SUPPORTED, Reference
from tests.api.generated.two_projects import MEMBER_ROLE, Side, TwoProjects

#: How many requests of each operation, and of each other writing of one. The seed of a longer run
#: is printed with what it finds.
EXAMPLES = int(os.environ.get("GENERATED", "0"))
SEED = int(os.environ.get("GENERATED_SEED", "0"))
#: How many of the POSTs that may be repeated have a key for that.
REPEATED = 0.2
PROJECT_IN_PATH = "/<string(length=32):url_project_id>"
PROJECT_ID = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
_RULE = re.compile(r"<(?:[a-z]+(?:\([^)]*\))?:)?([a-z_]+)>")
_METHODS = ("get", "put", "patch", "post", "delete")
_WORDS = ("1", "0", "-1", "true", "x", "", "asc", "name", "id", "created_at", "9" * 20,
          "2026-01-01T00:00:00", "(", "%", "\\1", "ACTIVE")  # fmt: skip
#: Members of bodies in which an id stands, and whose.
_REFERENCES = {
    "flavorRef": "flavor_id", "imageRef": "image", "rescue_image_ref": "image",
    "network_id": "network", "net_id": "network", "networkId": "network", "uuid": "network",
    "floating_network_id": "network", "port_id": "port", "port": "port", "subnet_id": "subnet",
    "security_group_id": "security_group", "remote_group_id": "security_group",
    "tenant_id": "project_id", "project_id": "project_id", "tenant": "project_id",
    "default_project_id": "project_id", "user_id": "user_id", "group": "group_id",
    "device_id": "server_id", "router_id": "router", "volume_id": "volume_id",
    "volumeId": "volume_id",
    "source_volid": "volume_id", "volume_uuid": "volume_id", "volume_type": "type_id",
    "new_type": "type_id", "project": "project_id",
}  # fmt: skip
#: What Compute calls the things of other services, by the noun and the name in its paths.
_ONCE = {
    ("images", "image_id"): "image", ("os-floating-ips", "floating_ip_id"): "floatingip",
    ("os-networks", "network_id"): "network", ("os-tenant-networks", "network_id"): "network",
    ("os-security-groups", "group_id"): "security_group",
    ("os-security-group-rules", "rule_id"): "security_group_rule",
}  # fmt: skip


@schemathesis.serializer(CURRENT, DRAFT)
def json_patch(_context: Any, value: Any) -> bytes:
    """JSON patches are JSON, whatever they call themselves."""
    return json.dumps(value).encode()


@dataclass(frozen=True)
class Person:
    """Who asks.

    :ivar token: None: nobody.
    :ivar good: whether it is a token at all.
    """

    name: str
    token: str | None
    good: bool = True
    admin: bool = False


@dataclass
class Findings:
    """What was asked, and what was wrong with the replies."""

    wrong: list[str] = field(default_factory=list)
    tried: set[tuple[str, str]] = field(default_factory=set)
    statuses: Counter[int] = field(default_factory=Counter)

    def check(self) -> None:
        """Nothing was wrong."""
        again = f"GENERATED={EXAMPLES} GENERATED_SEED={SEED}" if EXAMPLES else ""
        assert not self.wrong, again + "\n" + "\n".join(self.wrong[:30])


def document(
    frame: Frame, reference: Reference, minor: int, base: str, admin: bool
) -> dict[str, Any]:
    """The document of a service, with other writings of the same paths in it too."""
    made = reference.document(frame.endpoints, minor, base, admin)
    for each in others(frame, reference):
        canonical = each.path.replace(PROJECT_IN_PATH, "").removesuffix(".json")
        methods = made["paths"].get(_RULE.sub(r"{\1}", canonical), {})
        found = methods.get(each.method.lower())
        if found is None:
            continue
        path = _RULE.sub(r"{\1}", each.path)
        known = {one["name"] for one in found["parameters"] if one["in"] == "path"}
        more = [
            {"name": name, "in": "path", "required": True, "schema": PROJECT_ID}
            for name in _RULE.findall(each.path)
            if name not in known
        ]
        copy = {**found, "operationId": f"{each.method} {path}", "x-other": True}
        copy["parameters"] = [*found["parameters"], *more]
        made["paths"].setdefault(path, {})[each.method.lower()] = copy
    return made


def others(frame: Frame, reference: Reference) -> list[Endpoint]:
    """The endpoints below a service's prefix that are other writings of its paths."""
    known = {id(each) for each, _ in reference.entries(frame.endpoints)}
    return [
        each
        for each in frame.endpoints
        if id(each) not in known
        and (each.path == reference.prefix or each.path.startswith(reference.prefix + "/"))
    ]


def operations(described: dict[str, Any]) -> list[Any]:
    """What can be asked, in an order in which what is asked for is not gone already."""
    generation = GenerationConfig(with_security_parameters=False)
    # One event of a stream is enough.
    project = ProjectConfig(generation=generation, max_stream_events=1)
    config = SchemathesisConfig(seed=SEED, projects=ProjectsConfig(default=project))
    schema = schemathesis.openapi.from_dict(described, config=config)
    found = [each.ok() for each in schema.get_all_operations()]
    return sorted(found, key=lambda each: _METHODS.index(each.method.lower()))


class Known:
    """What a project has under the names that stand in paths.

    :param chance: chooses among several.
    """

    def __init__(self, two: TwoProjects, side: Side, chance: Random | None = None) -> None:
        self._two = two
        self._side = side
        self._chance = chance

    def fill(self, path: str, minor: int) -> str:
        """A rule of the router with what the project has."""
        plain = _RULE.sub(r"{\1}", path)
        return re.sub(
            r"{([a-z_]+)}", lambda found: self.value(plain, found[1], minor) or "x", plain
        )

    def value(self, path: str, name: str, minor: int) -> str | None:
        """What stands for a name in a path of the documents, or None."""
        side, two = self._side, self._two
        noun = path.split("/")[3] if path.count("/") > 2 else ""
        if name == "ref":
            noun = noun.removesuffix(".json").removesuffix("s").replace("-", "_")
            return side.ids.get({"network_ip_availabilitie": "network"}.get(noun, noun))
        if name == "server_id" and self._chance is not None:
            return self._chance.choice(side.servers)
        if name == "hypervisor_id":
            if path.endswith(("/search", "/servers")):
                return str(two.zone.name)
            return str(two.zone.uuid if minor >= UUIDS_FIRST else two.zone.id)
        if "/compute/" in path and (noun, name) in _ONCE:
            return side.ids.get(_ONCE[noun, name])
        common = {
            "role_id": MEMBER_ROLE, "class_id": "default",
            "tag": "x" if "/compute" in path else f"{side.mark}-tag",
            "project": side.ids["project_id"], "url_project_id": side.ids["project_id"],
            "member": side.ids["project_id"], "network": f"{side.mark}-network",
            "name": "images" if noun == "schemas" else f"{side.mark}-key",
            "key": "hw:x" if noun in ("flavors", "types") else "x",
            "alias": "os-keypairs" if "/compute" in path else "quotas",
            "item_id": two.things.get(noun),
        }  # fmt: skip
        return common.get(name) or side.ids.get(name)


class Asker:
    """Asks every operation of a document as somebody, from a thread beside the reactor.

    :param minor: the microversion that is sent along; 0: none.
    """

    def __init__(self, two: TwoProjects, minor: int, person: Person) -> None:
        self._two = two
        self._person = person
        self._minor = minor
        self._refused: set[str] = set()
        self._sides: tuple[Side | None, ...] = (two.mine, two.mine, two.theirs, None)
        self._session = requests.Session()
        self._theirs = two.theirs.words()
        self.findings = Findings()

    def run(
        self, described: dict[str, Any], right: int, wrong: int, known: set[tuple[str, str]]
    ) -> Findings:
        """Send so many requests of each operation that keep its description, and that do not.

        :param known: what was asked in another microversion: nobody else is sent there again, and
            its other writings are left out.
        """
        for operation in operations(described):
            name = (operation.method.upper(), operation.path)
            if name in known and "x-other" in operation.definition.raw:
                continue
            if name in known or self._person.admin:
                self._refused.add(operation.label)
            raw = operation.definition.raw
            # Only about a body schemathesis knows what is wrong: all else is text.
            plans = [(GenerationMode.POSITIVE, right)]
            if wrong and "requestBody" in raw:
                plans.append((GenerationMode.NEGATIVE, wrong))
            for mode, most in plans:
                self._ask(operation, mode, EXAMPLES or (1 if "x-other" in raw else most))
            self.findings.tried.add(name)
        self._session.close()
        return self.findings

    def _ask(self, operation: Any, mode: GenerationMode, most: int) -> None:
        @settings(
            max_examples=most,
            deadline=None,
            database=None,
            derandomize=not EXAMPLES,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=mode), st.integers(0, 2**32))
        def ask(case: Any, number: int) -> None:
            chance = Random(number)
            first = operation.label not in self._refused
            self._mix(operation, case, chance, self._sides[:1] if first else self._sides)
            # Without it each request would be taken for a repetition of the first.
            if chance.random() > REPEATED:
                case.headers.pop("Idempotency-Key", None)
            people = [self._person]
            if first:
                # Who is not let in is not, whatever the rest looks like: once is enough.
                self._refused.add(operation.label)
                people += [Person("somebody", "x" * 43, good=False), Person("nobody", None, False)]
            for person in people:
                response = case.call(
                    base_url=self._two.base, session=self._session, headers=self._sent(person)
                )
                self._look(person, operation, case, response)

        (seed(SEED)(ask) if EXAMPLES else ask)()

    # What is asked for

    def _sent(self, person: Person) -> dict[str, str]:
        """The headers of a person's requests."""
        headers = {} if person.token is None else {"X-Auth-Token": person.token}
        if self._minor:
            headers["OpenStack-API-Version"] = f"compute 2.{self._minor}, volume 3.{self._minor}"
        return headers

    def _mix(
        self, operation: Any, case: Any, chance: Random, whose: tuple[Side | None, ...]
    ) -> None:
        """Put ids of both projects where ids stand."""
        mine, theirs = self._two.mine, self._two.theirs
        side = chance.choice(whose)
        if side is not None:
            known = Known(self._two, side, chance)
            for name in list(case.path_parameters):
                value = known.value(operation.path, name, self._minor)
                if value:
                    case.path_parameters[name] = value
        described = operation.definition.raw["parameters"]
        queries = [each["name"] for each in described if each["in"] == "query"]
        ids = sorted({*mine.ids.values(), *theirs.ids.values()})
        case.query = {
            name: chance.choice(chance.choice((_WORDS, ids)))
            for name in chance.sample(queries, chance.randint(0, min(len(queries), 2)))
        }
        self._refer(case.body, chance, self._sides)

    def _refer(self, body: Any, chance: Random, whose: tuple[Side | None, ...]) -> None:
        """The same for a body."""
        if not isinstance(body, dict | list):
            return
        for name, value in list(body.items() if isinstance(body, dict) else enumerate(body)):
            if name in _REFERENCES and isinstance(value, str):
                side = chance.choice(whose)
                if side is not None:
                    body[name] = side.ids[_REFERENCES[name]]
            self._refer(value, chance, whose)

    # What is answered

    def _look(self, person: Person, operation: Any, case: Any, response: Any) -> None:
        status = response.status_code
        self.findings.statuses[status] += 1
        for problem in self._problems(person, operation, case, response):
            request = response.request
            body = "" if request.body is None else f" {str(request.body)[:300]}"
            self.findings.wrong.append(
                f"{person.name}: {request.method} {unquote(str(request.path_url))[:200]}"
                f"{body}: {status}: {problem}: {response.content[:300]!r}"
            )

    def _problems(self, person: Person, operation: Any, case: Any, response: Any) -> Iterable[str]:
        raw, status = operation.definition.raw, response.status_code
        if status >= 500 and not (status == 501 and raw.get("x-support") != SUPPORTED):
            yield "a fault of ours"
        if "x-openstack-request-id" not in response.headers:
            yield "no request id"
        nul = status == 404 and "%00" in response.request.url
        if not person.good and raw["security"] and status != 401 and not nul:
            yield "let in"
        if status < 400 and raw.get("x-support") == REFUSED:
            yield "not refused"
        yield from self._misfits(raw, case, response)
        if not person.admin:
            sent = f"{response.request.url} {response.request.body} {case.path_parameters}"
            told = response.text_lossy() + str(response.headers.get("location", ""))
            sent = unquote(sent)
            yield from (
                f"tells of the other project: {word}"
                for word in self._theirs
                if word in told and word not in sent
            )

    def _misfits(self, raw: Any, case: Any, response: Any) -> Iterable[str]:
        described = raw["responses"].get(str(response.status_code))
        if described is None:
            if response.status_code < 400:
                yield "no status of the document"
                return
            described = raw["responses"]["default"]
        content = described.get("content")
        if not response.content:
            # An action answers with nothing, or with a server.
            if content is not None and not raw["operationId"].endswith("/action"):
                yield "empty"
            return
        if content is None:
            yield "not empty"
            return
        if "text/event-stream" in content:
            return
        try:
            case.validate_response(
                response, checks=[content_type_conformance, response_schema_conformance]
            )
        except FailureGroup as failures:
            yield "; ".join(str(each).partition("Schema")[0] for each in failures.exceptions)
