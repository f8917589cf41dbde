"""The page of the documentation that lists every request: what is supported, refused, approximated.

It comes from the same tables as the OpenAPI documents::

    python -m cyclades_tx.api.reference > docs/api.md
"""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.task import Clock

from cyclades_tx.api.compute import app as compute
from cyclades_tx.api.compute import openapi as compute_table
from cyclades_tx.api.compute import refused_actions
from cyclades_tx.api.compute import shapes as compute_shapes
from cyclades_tx.api.compute.proxies import Flows
from cyclades_tx.api.events import Streams
from cyclades_tx.api.events_reference import REFERENCE as EVENTS
from cyclades_tx.api.frame import Frame
from cyclades_tx.api.identity import app as identity
from cyclades_tx.api.identity import openapi as identity_table
from cyclades_tx.api.image import app as image
from cyclades_tx.api.image import openapi as image_table
from cyclades_tx.api.network import app as network
from cyclades_tx.api.network import openapi as network_table
from cyclades_tx.api.network.routers import RouterWriter
from cyclades_tx.api.openapi import REFUSED, SUPPORTED, Described, Reference
from cyclades_tx.api.volume import app as volume
from cyclades_tx.api.volume import openapi as volume_table
from cyclades_tx.flows.network_tags import NetworkTags
from cyclades_tx.identity.catalog import Catalog
from cyclades_tx.sections import EventsSection

REFERENCES = (
    identity_table.REFERENCE,
    compute_table.REFERENCE,
    network_table.REFERENCE,
    image_table.REFERENCE,
    volume_table.REFERENCE,
    EVENTS,
)

_INTRODUCTION = """# Requests

Every request that the services answer, from the tables that their OpenAPI documents come from.
Each service gives its own at `openapi.json` below its version, to everyone, for the microversion
that is asked for. **approximated** says what is different from the reference; **refused** answers
at once with a fault that says why (501, or what the reference has for it).
"""


def endpoints() -> Frame:
    """A frame with every endpoint; nothing in it can be called."""
    nobody: Any = None
    frame = Frame(Clock(), nobody, "")
    mount(frame)
    return frame


def mount(frame: Frame) -> None:
    """Add every endpoint to a frame, with nothing behind it."""
    nobody: Any = None
    identity.mount(frame, nobody, nobody, nobody, nobody, Catalog(""))
    once = Flows(nobody, nobody, nobody)
    compute.mount(frame, nobody, nobody, nobody, old_flows=once)
    writers = {"routers": RouterWriter(nobody, nobody)}
    network.mount(frame, nobody, writers=writers, tags=NetworkTags(nobody))
    image.mount(frame, nobody)
    volume.mount(frame, nobody, nobody)
    Streams(Clock(), nobody, nobody, EventsSection()).mount(frame)


def render() -> str:
    """The whole page."""
    frame = endpoints()
    pieces = [_INTRODUCTION]
    for reference in REFERENCES:
        pieces.append(f"\n## {reference.title}\n\nBelow `{reference.prefix}`.\n\n")
        pieces.append("| request | | support |\n| --- | --- | --- |\n")
        pieces += [
            f"| `{each.method} {_path(each.path, reference)}` | {_summary(each.admin, said)} |"
            f" {_support(said, reference)} |\n"
            for each, said in reference.entries(frame.endpoints)
        ]
        if reference is compute_table.REFERENCE:
            pieces += _actions()
    return "".join(pieces)


def _path(path: str, reference: Reference) -> str:
    return re.sub(r"<([a-z_]+)>", r"{\1}", path.removeprefix(reference.prefix)) or "/"


def _summary(admin: bool, said: Described | None) -> str:
    text = "" if said is None else said.summary
    return f"{text} (administrators)" if admin else text


def _support(said: Described | None, reference: Reference) -> str:
    if said is None:
        return SUPPORTED
    words = said.support if said.support == SUPPORTED else f"**{said.support}**"
    if said.first > 1:
        words += f", from {reference.version(said.first)}"
    if said.last is not None:
        words += f", up to {reference.version(said.last)}"
    return f"{words}. {said.note}" if said.note else words


def _actions() -> list[str]:
    """The actions on a server, one by one."""
    lines = ["\nActions on a server:\n\n| action | support |\n| --- | --- |\n"]
    lines += [f"| `{name}` | {SUPPORTED} |\n" for name in sorted(compute_shapes.ACTIONS)]
    lines += [
        f"| `{name}` | **{REFUSED}**. {each.sentence} |\n"
        for name, each in sorted(refused_actions.REFUSED.items())
    ]
    return lines


if __name__ == "__main__":
    print(render(), end="")
