"""The command that counts what there is of everything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from cyclades_tx.errors import BadRequest, CycladesError
from cyclades_tx.manage import tables
from cyclades_tx.manage.backends import fleet
from cyclades_tx.manage.options import TRUTH, WORD, F
from cyclades_tx.manage.runner import Settings
from cyclades_tx.model.quota import GIB, MIB
from cyclades_tx.store import statistics as store
from cyclades_tx.world import World

_STEP = 1024
STATES = ("started", "stopped", "error")


def _part(name: str, what: str) -> Callable[[F], F]:
    return click.option(name, type=TRUTH, default=True, show_default=True, help=what)


@click.command("stats-cyclades")
@click.option("--backend", type=WORD, help="Only this one; networks and addresses are left out.")
@_part("--clusters", "Count on each backend.")
@_part("--cluster-details", "Ask the backends for their nodes, too.")
@_part("--servers", "Count servers by state, cores, memory and disks.")
@_part("--ip-pools", "Count the IPv4 addresses of external networks.")
@_part("--networks", "Count networks by flavor.")
@_part("--images", "Count servers by what they were made from.")
@click.option("--json-file", metavar="FILE", help="Write the numbers as JSON into this file, too.")
@click.option(
    "--output-format",
    "form",
    type=click.Choice((tables.PRETTY, tables.JSON)),
    default=tables.PRETTY,
    show_default=True,
    help="How the result is written.",
)
@click.pass_obj
def stats(
    settings: Settings,
    backend: str | None,
    clusters: bool,
    cluster_details: bool,
    servers: bool,
    ip_pools: bool,
    networks: bool,
    images: bool,
    json_file: str | None,
    form: str,
) -> None:
    """Count servers, networks, addresses and images, here and on each backend.

    Memory and disks are in bytes. What is being made counts as started; deleted things do not.
    """

    async def work(world: World) -> dict[str, Any]:
        database = world.database
        cluster_id = None if backend is None else (await fleet(world).find(backend)).id
        found: dict[str, Any] = {"datetime": datetime.now(UTC).isoformat(timespec="seconds")}
        if clusters:
            found["clusters"] = await _clusters(world, cluster_id, cluster_details)
        if servers:
            found["servers"] = _servers(
                await store.of_servers(database, cluster_id),
                await store.of_disks(database, cluster_id),
            )
        if networks and cluster_id is None:
            found["networks"] = _networks(await store.of_networks(database))
        if ip_pools and cluster_id is None:
            found["ip_pools"] = _addresses(await store.of_addresses(database))
        if images:
            found["images"] = {
                f"{row.kind}:{row.osfamily}:{row.os}": row.count
                for row in await store.of_images(database, cluster_id)
            }
        return found

    numbers = settings.run(work)
    if json_file is not None:
        try:
            Path(json_file).write_text(tables.record(numbers, tables.JSON), encoding="utf-8")
        except (OSError, ValueError) as error:
            raise BadRequest(f"The file cannot be written: {error}") from None
    if form == tables.JSON:
        tables.show(tables.record(numbers, form))
    else:
        tables.show(tables.record(pretty(numbers), form))


def add_to(group: click.Group) -> None:
    """Add the command."""
    group.add_command(stats)


async def _clusters(world: World, cluster_id: int | None, details: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for row in await store.of_clusters(world.database, cluster_id):
        found[row.name] = {
            "drained": row.drained,
            "offline": row.offline,
            "hypervisor": row.hypervisor,
            "disk_templates": row.disk_templates,
            "virtual_servers": row.servers,
            "virtual_cpu": row.vcpus,
            "virtual_ram": row.memory_mib * MIB,
            "virtual_disk": row.disk_gib * GIB,
            "nodes": {},
        }
        if details and not row.offline:
            found[row.name]["nodes"] = await _nodes(world, row.name)
    return found


async def _nodes(world: World, name: str) -> dict[str, Any]:
    """The nodes of a backend; why there are none is told on standard error."""
    row = await fleet(world).find(name)
    try:
        nodes = await world.clusters.questions(row).nodes()
    except CycladesError as error:
        click.echo(f"{name}: its nodes are not known: {error.message}", err=True)
        return {}
    return {
        node.name: {
            "drained": node.drained,
            "offline": node.offline,
            "vm_capable": node.vm_capable,
            "instances": node.instances,
            "cpu": node.cpus,
            "ram": {"total": node.memory_total_mib * MIB, "free": node.memory_free_mib * MIB},
            "disk": {"total": node.disk_total_mib * MIB, "free": node.disk_free_mib * MIB},
        }
        for node in nodes
    }


def _servers(servers: list[Any], disks: list[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        state: {"count": 0, "cpu": {}, "ram": {}, "disk": {}} for state in STATES
    }

    def add(counts: dict[str, int], key: object, count: int) -> None:
        counts[str(key)] = counts.get(str(key), 0) + count

    for row in servers:
        facts = found[row.state]
        facts["count"] += row.count
        add(facts["cpu"], row.vcpus, row.count)
        add(facts["ram"], row.memory_mib * MIB, row.count)
    for row in disks:
        sizes = found[row.state]["disk"].setdefault(row.template, {})
        add(sizes, row.size_gib * GIB, row.count)
    return found


def _networks(rows: list[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for row in rows:
        found.setdefault(row.flavor, {"active": 0, "error": 0})[row.state] = row.count
    return found


def _addresses(rows: list[Any]) -> dict[str, Any]:
    found = {state: {"count": 0, "free": 0, "total": 0} for state in ("active", "drained")}
    for row in rows:
        found["drained" if row.drained else "active"] = {
            "count": row.count,
            "free": row.free,
            "total": row.total,
        }
    return found


def pretty(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """The same numbers as tables that people read."""
    shown: dict[str, Any] = {"datetime": numbers["datetime"]}
    if "servers" in numbers:
        servers = numbers["servers"]
        shown["servers"] = [_state_row(state, servers[state]) for state in STATES]
        for part, title in (("cpu", "cores"), ("ram", "memory")):
            shown[f"servers by {title}"] = _sized(
                title, {state: servers[state][part] for state in STATES}
            )
        templates = sorted({each for state in STATES for each in servers[state]["disk"]})
        for template in templates:
            shown[f"{template} disks by size"] = _sized(
                "size", {state: servers[state]["disk"].get(template, {}) for state in STATES}
            )
    if "networks" in numbers:
        shown["networks"] = [
            {"flavor": flavor, "total": sum(counts.values()), **counts}
            for flavor, counts in numbers["networks"].items()
        ]
    if "ip_pools" in numbers:
        shown["IPv4 pools"] = [
            {"state": state, **counts} for state, counts in numbers["ip_pools"].items()
        ]
    if "images" in numbers:
        shown["images"] = [
            {"image": name, "servers": count} for name, count in numbers["images"].items()
        ]
    if "clusters" in numbers:
        shown["clusters"] = [_cluster_row(*each) for each in numbers["clusters"].items()]
        for name, facts in numbers["clusters"].items():
            if facts["nodes"]:
                shown[f"nodes of {name}"] = [_node_row(*each) for each in facts["nodes"].items()]
    return shown


def _state_row(state: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "state": state,
        "servers": facts["count"],
        "cpus": _sum(facts["cpu"]),
        "ram": _size(_sum(facts["ram"])),
        "disk": _size(sum(map(_sum, facts["disk"].values()))),
    }


def _sum(counts: Mapping[str, int]) -> int:
    return sum(int(size) * count for size, count in counts.items())


def _sized(title: str, by_state: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
    sizes = sorted({int(size) for counts in by_state.values() for size in counts})
    rows = []
    for size in sizes:
        counts = {state: counts.get(str(size), 0) for state, counts in by_state.items()}
        shown = str(size) if title == "cores" else _size(size)
        rows.append({title: shown, "total": sum(counts.values()), **counts})
    return rows


def _cluster_row(name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    nodes = facts["nodes"].values()
    state = "offline" if facts["offline"] else "drained" if facts["drained"] else "online"
    return {
        "name": name,
        "state": state,
        "nodes": len(nodes),
        "disk templates": facts["disk_templates"],
        "hypervisor": facts["hypervisor"],
        "servers": facts["virtual_servers"],
        "virtual/physical cpus": f"{facts['virtual_cpu']}/{sum(each['cpu'] for each in nodes)}",
        "virtual/physical ram": _pair(facts["virtual_ram"], nodes, "ram"),
        "virtual/physical disk": _pair(facts["virtual_disk"], nodes, "disk"),
    }


def _pair(virtual: int, nodes: Any, part: str) -> str:
    return f"{_size(virtual)}/{_size(sum(each[part]['total'] for each in nodes))}"


def _node_row(name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    state = "offline" if facts["offline"] else "drained" if facts["drained"] else "online"
    used = {part: facts[part]["total"] - facts[part]["free"] for part in ("ram", "disk")}
    return {
        "node": name,
        "state": state,
        "instances": facts["instances"],
        "cpus": facts["cpu"],
        **{
            f"{part} used/total": f"{_size(used[part])}/{_size(facts[part]['total'])}"
            for part in ("ram", "disk")
        },
    }


def _size(count: int) -> str:
    """A number of bytes as people read it."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < _STEP:
            return f"{size:.4g} {unit}"
        size /= _STEP
    return f"{size:.4g} TiB"
