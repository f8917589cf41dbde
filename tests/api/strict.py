"""Every reply that a test gets is held against the schema of its microversion and role."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

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
