"""Every way to spoil a body that a document knows: a fault of the service's own, and no change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
import requests
from twisted.internet.threads import deferToThread

from cyclades_tx.api.compute.refused_actions import REFUSED as REFUSED_ACTIONS
from cyclades_tx.api.openapi import REFUSED, SUPPORTED
from cyclades_tx.api.volume.refused import ACTIONS as REFUSED_OF_VOLUMES
from tests.api.generated.asked import EXAMPLES, Known
from tests.api.generated.hostile_bodies import VALUES, Bodies, samples
from tests.api.generated.test_schemathesis import BY_NAME
from tests.api.generated.two_projects import TwoProjects

#: Service and microversion: the proxies to Network are gone after 2.43.
DOCUMENTS = (("identity", 0), ("compute", 96), ("compute", 43), ("network", 0), ("volume", 71),
             ("image", 0))  # fmt: skip
KINDS = ("text/plain", "application/xml", "\xff", "multipart/form-data; boundary=x")
WRECKS = (b"", b"{", b"[]", b"null", b'"x"', b"1e400", b"{}{}", b'{"a": "\xff"}', b"<a/>",
          b'{"a":' * 5000, b'{"a":' * 5000 + b"1" + b"}" * 5000)  # fmt: skip
#: Where a number is as good as a text, a large one is too.
ANY_NUMBER = ("os-extra_specs",)
#: What needs more than a body that is understood: a place from which images come.
NOT_HERE = ("/image/v2/images/{ref}/import",)
#: Faults that are no JSON.
PAGES = {"image": "text/html; charset=UTF-8"}


class Sender:
    """Sends bodies as somebody, and says what is wrong with the replies."""

    def __init__(self, two: TwoProjects, service: str, minor: int) -> None:
        self._two = two
        both = f"compute 2.{minor}, volume 3.{minor}"
        self._headers = {"OpenStack-API-Version": both} if minor else {}
        self._known = Known(two, two.mine)
        self._minor = minor
        self._page = PAGES.get(service)
        self.session = requests.Session()
        reference = BY_NAME[service]
        self.document = reference.document(two.frame.endpoints, minor, two.base)
        fault = self.document["components"]["schemas"]["Fault"]
        self._is_fault = jsonschema_rs.validator_for(fault).is_valid
        self.limit = two.cloud.world.config.server.max_body_bytes
        self.sent = 0

    def operations(self) -> Iterator[tuple[str, str, Any]]:
        """Method, path and description of all that read a body."""
        for path, methods in self.document["paths"].items():
            for method, operation in methods.items():
                kinds = operation.get("requestBody", {}).get("content", ())
                read = any("json" in kind for kind in kinds)
                if read and operation["x-support"] != REFUSED:
                    yield method.upper(), path, operation

    def send(
        self, method: str, path: str, operation: Any, data: bytes, kind: str = "application/json"
    ) -> Any:
        """Send a body; the reply."""
        side = self._two.admin if operation.get("x-administrators-only") else self._two.mine
        headers = {**self._headers, "X-Auth-Token": side.token, "Content-Type": kind}
        self.sent += 1
        return self.session.request(
            method, self._two.base + self._known.fill(path, self._minor), data=data,
            headers={name: value.encode("latin-1") for name, value in headers.items()},
            timeout=60,
        )  # fmt: skip

    def wrong(self, operation: Any, answer: Any) -> str:
        """What is wrong with a reply to a body that should be refused; empty if nothing is."""
        honest = answer.status_code == 501 and operation["x-support"] != SUPPORTED
        if not (400 <= answer.status_code < 500 or honest):
            return f"{answer.status_code} {answer.text[:200]}"
        kind = answer.headers["content-type"]
        if kind != (self._page or "application/json"):
            return f"{answer.status_code} {kind}"
        if self._page:
            return "" if f"<h1>{answer.status_code} " in answer.text else answer.text[:200]
        good = self._is_fault(answer.json())
        return "" if good else f"{answer.status_code}: another shape: {answer.text[:200]}"


def spoil(sender: Sender, bodies: Bodies) -> list[str]:
    """Send everything that is wrong to everything that reads a body."""
    found = []
    most = len(VALUES) if EXAMPLES else 3
    for method, path, operation in sender.operations():
        cases: list[tuple[str, bytes, str]] = []
        for schema, kind in bodies.forms(operation):
            for what, body in bodies.spoiled(schema, most):
                if not (path.partition("flavors/")[2].split("/")[1:2] == list(ANY_NUMBER)
                        and isinstance(body, dict) and "000000" in what):  # fmt: skip
                    cases.append((what, json.dumps(body).encode(), kind))
        first, usual = bodies.forms(operation)[0]
        right = json.dumps(bodies.right(first)).encode()
        # A list of nothing is no wreck where a list is read.
        wrecks = [each for each in WRECKS if each != b"[]" or bodies.refused(first)([])]
        cases += [(f"as {kind}", right, kind) for kind in KINDS]
        cases += [(repr(wreck[:20]), wreck, usual) for wreck in wrecks]
        cases.append(("too large", right + b" " * sender.limit, usual))
        for what, data, kind in cases:
            answer = sender.send(method, path, operation, data, kind)
            wrong = sender.wrong(operation, answer)
            if wrong:
                found.append(f"{method} {path} with {what}: {data[:200]!r}: {wrong}")
    return found


def understood(sender: Sender, bodies: Bodies) -> list[str]:
    """Send what is right to everything; what was not understood."""
    found = []
    for method, path, operation in sender.operations():
        for schema, kind in bodies.forms(operation) if path not in NOT_HERE else ():
            body = bodies.right(schema)
            if path.endswith("/action") and set(body) <= {*REFUSED_ACTIONS, *REFUSED_OF_VOLUMES}:
                continue
            answer = sender.send(method, path, operation, json.dumps(body).encode(), kind)
            if answer.status_code in (400, 413, 415, 422) or answer.status_code >= 500:
                found.append(f"{method} {path} {body}: {answer.status_code} {answer.text[:200]}")
    return found


@pytest.mark.parametrize(("service", "minor"), DOCUMENTS)
async def test_spoiled_bodies_are_refused_and_change_nothing(
    two: TwoProjects, service: str, minor: int
) -> None:
    """Wrong types, missing and further members, large numbers, NUL, half characters, wrecks.

    What they were before they were spoiled is understood, so it is for this that they are refused.
    """
    sender = Sender(two, service, minor)
    bodies = Bodies(sender.document, samples(two, minor))
    before = await two.rows()
    spoiled = await deferToThread(spoil, sender, bodies)
    after = await two.rows()
    missed = await deferToThread(understood, sender, bodies)
    sender.session.close()
    assert not spoiled, f"{len(spoiled)} of {sender.sent}:\n" + "\n".join(spoiled[:40])
    assert {name for name, digest in after.items() if before[name] != digest} == set()
    assert not missed, "\n".join(missed)
