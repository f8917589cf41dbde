"""The page of the documentation out of the rows of all tests.

Made anew with ``python -m tests.scenario.clients.page > docs/clients.md``.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

from tests.scenario.clients.table import SUPPORTED, Row

#: The modules with tests, and the title of the rows of each.
CHAPTERS = {
    "test_login": "Login, people and common commands",
    "test_servers": "Servers",
    "test_procedures": "What is done with servers",
    "test_interfaces": "Interfaces and addresses of servers",
    "test_server_volumes": "Volumes of servers",
    "test_first_boot": "What a new machine is told",
    "test_catalogue": "Flavors, key pairs and images",
    "test_images": "Images made, changed and shared",
    "test_image_data": "Data of images",
    "test_administration": "Quotas, usage and the machines",
    "test_volumes": "Volumes",
    "test_networks": "Networks and subnets",
    "test_pools": "Subnet pools, and interfaces of routers",
    "test_ports": "Ports, floating IPs and security groups",
    "test_routers": "Routers",
    "test_sdk": "openstacksdk",
    "test_bindings": "novaclient and neutronclient",
    "test_old_clients": "What clients asked of Compute before 2.36",
}

_INTRODUCTION = """# Clients

What the real clients can ask, each row with the test that does it against simulated clusters:
openstackclient 10.5, openstacksdk 4.22 (`conn`; `old` with `floating_ip_source` and
`secgroup_source` set to `nova`), and the bindings of novaclient 18 (`nova`) and neutronclient 14
(`neutron`). What begins with a capital letter stands for anything. The request is
the one that matters; look-ups by name, and what a client asks afterwards, are left out.

**approximated** says what is different from the reference. What is **refused** fails with the
status and the words that stand there. Every request, whoever sends it, is in [api.md](api.md).
`compute` in a path stands for `/compute/v2.1`, `network` for `/network/v2.0`, `identity` for
`/identity/v3`, `image` for `/image/v2`, `volume` for `/volume/v3`.
"""


@cache
def chapters() -> dict[str, tuple[Row, ...]]:
    """The rows of each chapter, in the order of its tests."""
    found = {}
    for module, title in CHAPTERS.items():
        things = vars(import_module(f"tests.scenario.clients.{module}")).values()
        found[title] = tuple(row for thing in things for row in getattr(thing, "rows", ()))
    return found


def every_row() -> tuple[Row, ...]:
    """The rows of all chapters."""
    return tuple(row for rows in chapters().values() for row in rows)


def render() -> str:
    """The whole page."""
    pieces = [_INTRODUCTION]
    for title, rows in chapters().items():
        pieces.append(f"\n## {title}\n\n| command or call | request | support | note |\n")
        pieces.append("| --- | --- | --- | --- |\n")
        pieces += [_line(row) for row in rows]
    return "".join(pieces)


def _line(row: Row) -> str:
    requests = " → ".join(f"`{each}`" for each in row.requests.split(" → "))
    support = row.support if row.support == SUPPORTED else f"**{row.support}**"
    note = f"{row.status}: {row.note}" if row.status else row.note
    return f"| `{row.call}` | {requests} | {support} | {note} |\n"


if __name__ == "__main__":
    print(render(), end="")
