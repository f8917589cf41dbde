"""Every reply that a test gets is held against the schema of its microversion and role."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jsonschema_rs

from cyclades_tx.api.frame import Call, Frame, Handler, Reply, Service, Streaming
from cyclades_tx.api.openapi import JSON, Described
from cyclades_tx.api.reference import REFERENCES

DESCRIBED: dict[tuple[str, str], Described] = {}
for _reference in REFERENCES:
    for _name, _said in _reference.table.items():
        _method, _, _path = _name.partition(" ")
        DESCRIBED[_method, _reference.prefix + _path] = _said
_PROJECT = "/<string(length=32):url_project_id>"


@lru_cache(maxsize=4096)
def _validator(method: str, path: str, minor: int, admin: bool, partial: bool) -> Any:
    said = DESCRIBED[method, path]
    shape = said.partial if partial and said.partial is not None else said.reply
    return None if shape is None else jsonschema_rs.validator_for(shape(minor, admin))


class StrictReplies:
    """Looks at what endpoints answer.

    :ivar misfits: what did not fit, as sentences.
    """

    def __init__(self) -> None:
        self.misfits: list[str] = []

    def watch(self, monkeypatch: Any) -> None:
        """Look at every endpoint that is mounted from now on."""
        mount = Frame.endpoint

        def endpoint(
            frame: Frame, service: Service, method: str, path: str, handler: Handler, **options: Any
        ) -> None:
            canonical = path.replace(_PROJECT, "").removesuffix(".json")
            known = path if (method, path) in DESCRIBED else canonical
            if (method, known) in DESCRIBED:
                handler = self._watched(handler, method, known)
            mount(frame, service, method, path, handler, **options)

        monkeypatch.setattr(Frame, "endpoint", endpoint)

    def _watched(self, handler: Handler, method: str, path: str) -> Handler:
        async def handle(call: Call, **arguments: str) -> Reply | bytes:
            result = await handler(call, **arguments)
            if not isinstance(result, Streaming):
                wrong = self._look(call, method, path, result)
                if wrong:
                    self.misfits.append(f"{method} {path} of 2.{call.minor}: {wrong}")
            return result

        return handle

    def _look(self, call: Call, method: str, path: str, result: Reply | bytes) -> str:
        said = DESCRIBED[method, path]
        status = 200 if isinstance(result, bytes) else result.status
        body = result if isinstance(result, bytes) else result.body
        if status not in (said.status, *said.also, *said.empty):
            return f"{status} is not in the document"
        if body is None:
            empty = said.reply is None or status in said.empty
            return "" if empty else f"{status} without a body"
        if said.content != JSON:
            return ""
        admin = hasattr(call, "who") and call.who.admin
        validator = _validator(method, path, call.minor, admin, bool(call.queries("fields")))
        if validator is None:
            return f"a body where none is described: {body!r:.200}"
        document = json.loads(body) if isinstance(body, bytes) else json.loads(json.dumps(body))
        first = next(iter(validator.iter_errors(document)), None)
        return "" if first is None else f"{first.message} at {first.instance_path}"[:600]


def _pattern(path: str) -> re.Pattern[str]:
    """What paths of an endpoint look like, with or without a project's id and a suffix."""
    for reference in REFERENCES:
        rest = path.removeprefix(reference.prefix)
        if rest != path:
            inside = re.sub(r"<[^>]+>", "[^/]+", rest).rstrip("/")
            return re.compile(rf"{reference.prefix}(/[0-9a-f]{{32}})?{inside}(\.json)?/?")
    raise LookupError(path)


#: Those without a variable part come first: ``servers/detail`` is no server.
_PATTERNS = [
    (method, _pattern(path), path)
    for method, path in sorted(DESCRIBED, key=lambda key: (key[1].count("<"), key))
]


def misfit_on_the_wire(
    method: str, url: str, minor: int, admin: bool, status: int, content: str
) -> str:
    """What is wrong with a reply that a client got of a process, in a sentence; "": nothing.

    :param url: its path and query.
    :param minor: of the microversion that the reply names; of no effect outside of Compute.
    :param content: the body as text.
    """
    split = urlsplit(url)
    known = next(
        (path for verb, look, path in _PATTERNS if verb == method and look.fullmatch(split.path)),
        None,
    )
    if known is None:
        return ""
    said = DESCRIBED[method, known]
    where = f"{method} {url} of 2.{minor}: {status}"
    if status >= 400:
        reference = next(each for each in REFERENCES if known.startswith(each.prefix))
        if reference.fault_content != JSON or not content:
            return "" if status != 500 else where
        validator = jsonschema_rs.validator_for(reference.fault)
    else:
        if status not in (said.status, *said.also, *said.empty):
            return f"{where} is not in the document"
        if not content:
            return "" if said.reply is None or status in said.empty else f"{where} without a body"
        if said.content != JSON:
            return ""
        partial = "fields" in parse_qs(split.query)
        validator = _validator(method, known, minor, admin, partial)
    if validator is None:
        return f"{where}, a body where none is described: {content:.200}"
    first = next(iter(validator.iter_errors(json.loads(content))), None)
    return "" if first is None else f"{where}, {first.message} at {first.instance_path}"[:600]
