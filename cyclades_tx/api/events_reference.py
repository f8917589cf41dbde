"""What the OpenAPI document of the events says of each endpoint."""

from __future__ import annotations

from cyclades_tx.api.compute.shapes import FAULT
from cyclades_tx.api.openapi import DOCUMENT, Described, Reference, plain

TABLE: dict[str, Described] = {
    "GET /openapi.json": DOCUMENT,
    "GET /stream": Described(
        "What happens in the project, as it happens.",
        reply=plain({"type": "string"}),
        content="text/event-stream",
        query=("all_projects", "last_event_id"),
        headers=("Last-Event-ID",),
        note="Server-sent events, see [events.md](events.md); it goes on until one side ends it.",
    ),
}

REFERENCE = Reference("Events", "/events/v1", TABLE, FAULT)
