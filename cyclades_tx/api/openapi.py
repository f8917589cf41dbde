"""OpenAPI documents: one for each service, out of what its endpoints check and its documents show.

A service describes its endpoints in a table (``api/<service>/openapi.py``): the structure that
reads the body, the document that is answered. Paths, tokens and roles come from the endpoints
themselves, so that nothing that is served is missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from cyclades_tx import __version__
from cyclades_tx.api.call import Call, Endpoint, Handler, Service
from cyclades_tx.api.documents import Document
from cyclades_tx.api.frame import Frame

SUPPORTED = "supported"
APPROXIMATED = "approximated"
REFUSED = "refused"

Schema = dict[str, Any]
#: The schema of a reply for a microversion's minor number and a role (administrator or not).
Shape = Callable[[int, bool], Schema]

JSON = "application/json"

_RULE = re.compile(r"<(?:[a-z]+(?:\([^)]*\))?:)?([a-z_]+)>")
_COMPONENTS = "#/components/schemas/"
_MOST_KEPT = 128


@dataclass(frozen=True)
class ByVersion:
    """Types that read a body, different from one microversion to the next.

    :ivar types: gives those of a minor number.
    """

    types: Callable[[int], tuple[Any, ...]]


@dataclass(frozen=True)
class Described:
    """What the table says of one endpoint.

    :ivar body: the type that reads the body, a tuple of them, or :class:`ByVersion`; None: there
        is none.
    :ivar media: the content types of the body.
    :ivar reply: the shape of the reply; None: it is empty.
    :ivar partial: its shape where the query chooses among the members; None: it cannot.
    :ivar status: of a success.
    :ivar empty: further statuses of a success, of which the reply is empty.
    :ivar also: further statuses of a success, with the same reply.
    :ivar content: the type of the reply.
    :ivar headers: names of headers that have an effect.
    :ivar query: the names of the parameters that have an effect.
    :ivar support: :data:`SUPPORTED`, :data:`APPROXIMATED` or :data:`REFUSED`.
    :ivar note: what is different from the reference, in a sentence.
    :ivar first: the first microversion that has it; ``last``: the last one, or None.
    """

    summary: str
    body: Any = None
    media: tuple[str, ...] = (JSON,)
    reply: Shape | None = None
    partial: Shape | None = None
    status: int = 200
    empty: tuple[int, ...] = ()
    also: tuple[int, ...] = ()
    content: str = JSON
    headers: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    support: str = SUPPORTED
    note: str = ""
    first: int = 0
    last: int | None = None

    def exists(self, minor: int) -> bool:
        """Whether a microversion has it."""
        return self.first <= minor and (self.last is None or minor <= self.last)


def plain(schema: Schema) -> Shape:
    """The shape of a reply that is the same in every microversion."""
    return lambda minor, admin: schema


def shown(document: Document) -> Shape:
    """The shape of a document without anything around it."""
    return document.schema


def within(key: str, inner: Shape) -> Shape:
    """The shape of ``{"key": INNER}``."""
    return lambda minor, admin: _record({key: inner(minor, admin)})


def listed(key: str, inner: Shape, links: str | None = None) -> Shape:
    """The shape of ``{"key": [INNER, …]}``.

    :param links: the name under which the next page stands, if there is one.
    """

    def shape(minor: int, admin: bool) -> Schema:
        properties: Schema = {key: {"type": "array", "items": inner(minor, admin)}}
        found = _record(properties)
        if links is not None:
            link = _record({"rel": {"enum": ["next", "previous"]}, "href": {"type": "string"}})
            found["properties"][links] = {"type": "array", "items": link}
        return found

    return shape


def _record(properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": sorted(properties),
        "additionalProperties": False,
    }


_ANY: Schema = {"type": "object"}
#: How a service describes its description.
DOCUMENT = Described(
    "This document.",
    reply=plain(
        _record(
            {
                "openapi": {"enum": ["3.1.0"]},
                "info": _record({"title": {"type": "string"}, "version": {"type": "string"}}),
                "servers": {"type": "array", "items": _record({"url": {"type": "string"}})},
                "paths": {"type": "object", "additionalProperties": _ANY},
                "components": _record({"schemas": _ANY, "securitySchemes": _ANY}),
            }
        )
    ),
)


@dataclass(frozen=True)
class Reference:
    """The endpoints of one service, and what is said of them.

    :ivar title: its name for people.
    :ivar prefix: what all its paths begin with.
    :ivar table: by ``METHOD path``, the path without the prefix.
    :ivar fault: the shape of its faults, and ``fault_content`` their type.
    :ivar versions: the smallest and the largest minor microversion, or None; ``major`` is what
        stands before them.
    """

    title: str
    prefix: str
    table: Mapping[str, Described]
    fault: Schema
    versions: tuple[int, int] | None = None
    fault_content: str = JSON
    major: int = 2

    def version(self, minor: int) -> str:
        """A microversion as clients write it; empty where there are none."""
        return "" if self.versions is None else f"{self.major}.{minor}"

    def entries(self, endpoints: Iterable[Endpoint]) -> list[tuple[Endpoint, Described | None]]:
        """The endpoints of the service below its prefix, each with what the table says of it."""
        found = []
        seen = set()
        for each in endpoints:
            inside = each.path == self.prefix or each.path.startswith(self.prefix + "/")
            name = f"{each.method} {each.path.removeprefix(self.prefix)}"
            # A project's id in the path, and a suffix, are other writings of the same thing.
            suffix = each.path.endswith(".json") and not each.path.endswith("/openapi.json")
            other = suffix or "url_project_id" in each.path
            if inside and not other and name not in seen:
                seen.add(name)
                found.append((each, self.table.get(name)))
        return found

    def document(
        self,
        endpoints: Iterable[Endpoint],
        minor: int,
        base_url: str,
        admin: bool | None = None,
    ) -> Schema:
        """The OpenAPI document of one microversion.

        :param admin: what administrators see, or what others do; None: either of them.
        """
        entries = [
            (each, said)
            for each, said in self.entries(endpoints)
            if said is None or said.exists(minor)
        ]
        bodies = {body for _, said in entries for body in _bodies(said, minor)}
        ordered = sorted(bodies, key=repr)
        schemas, components = msgspec.json.schema_components(
            ordered, ref_template=_COMPONENTS + "{name}"
        )
        by_body = dict(zip(ordered, schemas, strict=True))
        paths: dict[str, Schema] = {}
        for each, said in entries:
            path = _RULE.sub(r"{\1}", each.path)
            operation = self._operation(each, said, minor, by_body, admin)
            paths.setdefault(path, {})[each.method.lower()] = operation
        version = self.version(minor)
        return {
            "openapi": "3.1.0",
            "info": {"title": self.title, "version": version or __version__},
            "servers": [{"url": base_url}],
            "paths": paths,
            "components": {
                "schemas": {**components, "Fault": self.fault},
                "securitySchemes": {
                    "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}
                },
            },
        }

    def _operation(
        self,
        each: Endpoint,
        said: Described | None,
        minor: int,
        bodies: Mapping[Any, Schema],
        admin: bool | None,
    ) -> Schema:
        fault = {self.fault_content: {"schema": {"$ref": _COMPONENTS + "Fault"}}}
        responses: Schema = {"default": {"description": "A fault.", "content": fault}}
        if said is None or said.support != REFUSED:
            responses = {**_successes(said, minor, admin), **responses}
        operation: Schema = {
            "operationId": _RULE.sub(r"\1", f"{each.method.lower()}{each.path}"),
            "summary": "" if said is None else said.summary,
            "parameters": _parameters(each, said, self.version(minor)),
            "responses": responses,
            "security": [{"token": []}] if each.token else [],
        }
        if each.admin:
            operation["x-administrators-only"] = True
        if said is not None:
            operation["x-support"] = said.support
            if said.note:
                operation["description"] = said.note
            if said.body is not None:
                several = [bodies[body] for body in _bodies(said, minor)]
                schema = several[0] if len(several) == 1 else {"anyOf": several}
                content = {kind: {"schema": schema} for kind in said.media}
                operation["requestBody"] = {"required": True, "content": content}
        return operation


def _bodies(said: Described | None, minor: int) -> tuple[Any, ...]:
    """The types that read a body."""
    if said is None or said.body is None:
        return ()
    if isinstance(said.body, ByVersion):
        return said.body.types(minor)
    return said.body if isinstance(said.body, tuple) else (said.body,)


def _successes(said: Described | None, minor: int, admin: bool | None) -> Schema:
    """What is answered when all goes well, by status."""
    nothing: Schema = {"description": "Done."}
    if said is None:
        return {"200": nothing}
    success = dict(nothing)
    reply = said.partial or said.reply
    if reply is not None:
        shape = _for_all(reply, minor) if admin is None else reply(minor, admin)
        success["content"] = {said.content: {"schema": shape}}
    found = {str(status): nothing for status in said.empty}
    return {**found, **{str(status): success for status in (said.status, *said.also)}}


def _for_all(reply: Shape, minor: int) -> Schema:
    """The shape for everyone; where administrators see more, either of the two."""
    usual, more = reply(minor, False), reply(minor, True)
    return usual if usual == more else {"anyOf": [usual, more]}


def _parameters(each: Endpoint, said: Described | None, version: str) -> list[Schema]:
    """What goes along with a request.

    :param version: the microversion; empty: the service has none.
    """
    text = {"type": "string"}
    found: list[Schema] = [
        {"name": name, "in": "path", "required": True, "schema": text}
        for name in _RULE.findall(each.path)
    ]
    if version:
        known = {"const": f"{each.service} {version}"}
        found.append({"name": "OpenStack-API-Version", "in": "header", "schema": known})
    if each.method == "POST" and each.token and each.scoped:
        key = {"type": "string", "pattern": "^[!-~]{1,255}$"}
        found.append({"name": "Idempotency-Key", "in": "header", "schema": key})
    if said is not None:
        found += [{"name": name, "in": "header", "schema": text} for name in said.headers]
        found += [{"name": name, "in": "query", "schema": text} for name in said.query]
    return found


def mount(frame: Frame, service: Service, reference: Reference) -> None:
    """Serve a service's document, to everyone; without microversions there is one."""
    kept: dict[int, bytes] = {}

    async def show(call: Call) -> bytes:
        body = kept.get(call.minor)
        if body is None:
            document = reference.document(frame.endpoints, call.minor, frame.public_url)
            body = orjson.dumps(document)
            if len(kept) < _MOST_KEPT:
                kept[call.minor] = body
        return body

    handler: Handler = show
    path = f"{reference.prefix}/openapi.json"
    frame.endpoint(service, "GET", path, handler, token=False, scoped=False)
