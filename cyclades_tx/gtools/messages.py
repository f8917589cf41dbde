"""What is said about a job: from one opcode to a routing key and a message.

Names, fields and rules are the ones that consumers have known since Cyclades 0.21, with
``op_index`` and ``job_ops`` added; whoever does not know those passes over them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import msgspec

from cyclades_tx.gtools.jobfile import FINAL, STATUSES, Job, Op, Time

#: A message that would be larger is sent without what makes it large.
MAX_BYTES = 262_144
#: What the broker allows.
MAX_KEY_BYTES = 255

HEARTBEAT_KEY = "eventd.heartbeat"
HEARTBEAT_TAG = "snf:eventd:heartbeat"
CLUSTER_KEY = "ganeti.event.cluster"

_FIREWALL = ("synnefo", "network")
_FIREWALL_FIELDS = 4
_NETWORK_FIELDS = ("gateway", "add_reserved_ips", "remove_reserved_ips", "group_name")
_PARAMETER_FIELDS = ("nics", "disks", "hvparams", "beparams")
#: Input of an opcode that is never sent on, wherever its name has one of these in it.
_SECRET = ("osparams", "password", "passwd", "secret", "handshake")
_MANY = 2


@dataclass(frozen=True)
class Configuration:
    """How an instance is configured, as Ganeti says right now."""

    nics: list[dict[str, Any]] = field(default_factory=list)
    disks: list[dict[str, Any]] = field(default_factory=list)
    hvparams: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Draft:
    """A message that may still want the instance's configuration.

    :ivar mark: changes whenever there is something new to be said about the opcode.
    :ivar instance: whose configuration belongs into it; "": nobody's.
    """

    routing_key: str
    fields: dict[str, Any]
    mark: str
    instance: str = ""

    def message(self, configuration: Configuration | None = None) -> dict[str, Any]:
        """Return the message; without a configuration those fields are missing."""
        if not self.instance or configuration is None:
            return self.fields
        return {
            **self.fields,
            "instance_nics": configuration.nics,
            "instance_disks": configuration.disks,
            "instance_hvparams": configuration.hvparams,
        }


def encode(message: dict[str, Any]) -> bytes:
    """Return a message's bytes, within bounds whatever the job has in it."""
    body = msgspec.json.encode(message)
    if len(body) <= MAX_BYTES:
        return body
    smaller = dict(message, truncated=True)
    for name in ("result", "logmsg", "job_fields", "tags"):
        if name in smaller:
            smaller[name] = {"job_fields": {}, "tags": []}.get(name)
            body = msgspec.json.encode(smaller)
            if len(body) <= MAX_BYTES:
                break
    return body


def prefix(name: str) -> str:
    """Return what stands before the first dash of a name: whose object it is."""
    return name.partition("-")[0]


def draft(job: Job, op: Op, cluster: str) -> Draft | None:
    """Return what is to be said about an opcode; None: nothing."""
    family = op.kind.split("_", _MANY)[1:2]
    build = _FAMILIES.get(family[0]) if family else None
    time = event_time(job, op)
    if build is None or op.status not in STATUSES or time is None:
        return None
    built = build(op)
    if built is None or len(built.routing_key.encode()) > MAX_KEY_BYTES:
        return None
    common = {
        "event_time": list(time),
        "operation": op.kind,
        "status": op.status,
        "cluster": cluster,
        "logmsg": op.log_message,
        "result": op.result,
        "jobId": job.id,
        "op_index": op.index,
        "job_ops": len(job.ops),
    }
    mark = built.mark or f"{op.status}:{op.log_length}"
    return Draft(built.routing_key, {**built.fields, **common}, mark, built.instance)


def event_time(job: Job, op: Op) -> Time | None:
    """Return when an opcode came into its state, by the master's clock."""
    if op.status == "queued":
        own = job.received
    elif op.status == "running":
        own = op.execute
    elif op.status in FINAL:
        own = op.end
    else:
        own = op.start
    # The rest is not in the old rules, which then said nothing at all.
    return own or job.end or op.end or op.execute or op.start or job.start or job.received


def _instance(op: Op) -> Draft | None:
    name, several = op.input.get("instance_name"), op.input.get("instances")
    if name is None and isinstance(several, list) and len(several) == 1:
        name = several[0]
    if not _named(name):
        return None
    shown: dict[str, Any] = {}
    if op.kind == "OP_INSTANCE_CREATE" and op.status == "error":
        shown = _without_secrets(op.input)
    elif op.kind in ("OP_INSTANCE_CREATE", "OP_INSTANCE_SET_PARAMS"):
        shown = {each: _without_secrets(op.input.get(each)) for each in _PARAMETER_FIELDS}
    elif op.kind == "OP_INSTANCE_SNAPSHOT" and op.input.get("disks"):
        shown = {"disks": _snapshot_disks(op.input)}
    return Draft(
        routing_key=f"ganeti.{prefix(name)}.event.op",
        fields={
            "type": "ganeti-op-status",
            "instance": name,
            "tags": _tags(op),
            "job_fields": shown,
        },
        mark="",
        instance=name if _wants_configuration(op) else "",
    )


def _wants_configuration(op: Op) -> bool:
    if op.kind in ("OP_INSTANCE_CREATE", "OP_INSTANCE_STARTUP"):
        return op.status == "success"
    return op.kind in ("OP_INSTANCE_SET_PARAMS", "OP_INSTANCE_GROW_DISK") and op.status in FINAL


def _network(op: Op) -> Draft | None:
    name = op.input.get("network_name")
    if not _named(name):
        return None
    shown = {"subnet": op.input.get("network")}
    shown.update((each, op.input.get(each)) for each in _NETWORK_FIELDS)
    return Draft(
        routing_key=f"ganeti.{prefix(name)}.event.network",
        fields={"type": "ganeti-network-status", "network": name, "job_fields": shown},
        mark="",
    )


def _cluster(op: Op) -> Draft | None:
    if op.kind != "OP_CLUSTER_SET_PARAMS":
        return None
    return Draft(CLUSTER_KEY, {"type": "ganeti-cluster-status"}, mark="")


def _tag(op: Op) -> Draft | None:
    if op.input.get("kind") == "cluster":
        return _heartbeat(op)
    name = op.input.get("name")
    if op.input.get("kind") != "instance" or op.status not in FINAL or not _named(name):
        return None
    return Draft(
        routing_key=f"ganeti.{prefix(name)}.event.op",
        fields={
            "type": "ganeti-op-status",
            "instance": name,
            "tags": _tags(op),
            "job_fields": {"dry_run": op.input.get("dry_run")},
        },
        mark="",
    )


def _heartbeat(op: Op) -> Draft | None:
    asked = [tag for tag in _tags(op)[:1] if isinstance(tag, str) and tag.startswith(HEARTBEAT_TAG)]
    if op.kind != "OP_TAGS_SET" or op.input.get("dry_run") is not True or not asked:
        return None
    if op.status == "queued":
        return None
    # "waiting" passes too quickly to be seen each time: any later state answers as well, once.
    return Draft(HEARTBEAT_KEY, {"type": "eventd-heartbeat"}, mark="answered")


_FAMILIES: dict[str, Callable[[Op], Draft | None]] = {
    "INSTANCE": _instance,
    "NETWORK": _network,
    "CLUSTER": _cluster,
    "TAGS": _tag,
}


def _named(name: Any) -> TypeGuard[str]:
    return isinstance(name, str) and bool(name)


def _tags(op: Op) -> list[Any]:
    tags = op.input.get("tags")
    return tags if isinstance(tags, list) else []


def _without_secrets(value: Any) -> Any:
    """Return the same without what may be a secret; ``osparams`` has passwords in clear."""
    if isinstance(value, dict):
        return {
            name: _without_secrets(inner)
            for name, inner in value.items()
            if not any(word in name.lower() for word in _SECRET)
        }
    if isinstance(value, list):
        return [_without_secrets(inner) for inner in value]
    return value


def _snapshot_disks(given: dict[str, Any]) -> Any:
    """Return the disks with the person's part of the reason beside the first one's parameters."""
    disks = _without_secrets(given["disks"])
    match disks, given.get("reason"):
        case [[name, dict(parameters)], *others], [["gnt:user", str(info), *_], *_]:
            return [[name, {**parameters, "snapshot_info": info}], *others]
    return disks


def configuration(row: dict[str, Any]) -> Configuration:
    """Return an instance's configuration from the answers to Ganeti's query fields."""
    tags = row.get("tags")
    walls = firewalls(tags if isinstance(tags, list) else ())
    nics = _rows(row, NIC_FIELDS)
    for nic in nics:
        if isinstance(nic["name"], str) and nic["name"] in walls:
            nic["firewall"] = walls[nic["name"]]
    return Configuration(
        nics=nics,
        disks=_rows(row, DISK_FIELDS),
        hvparams={each: row.get(f"hv/{each}") for each in HYPERVISOR_FIELDS},
    )


def firewalls(tags: Iterable[Any]) -> dict[str, str]:
    """Return each card's kind of firewall, by the instance's tags."""
    found = {}
    for tag in tags:
        words = tag.split(":") if isinstance(tag, str) else []
        if len(words) == _FIREWALL_FIELDS and tuple(words[:2]) == _FIREWALL:
            found[words[2]] = words[3]
    return found


#: The members of a NIC and of a disk, with Ganeti's query fields for them.
NIC_FIELDS = {
    "name": "nic.names",
    "network": "nic.networks.names",
    "ip": "nic.ips",
    "mac": "nic.macs",
    "mode": "nic.modes",
    "link": "nic.links",
    "uuid": "nic.uuids",
}
DISK_FIELDS = {"name": "disk.names", "size": "disk.sizes", "uuid": "disk.uuids"}
HYPERVISOR_FIELDS = ("boot_order", "cdrom_image_path")
QUERY_FIELDS = (
    "name",
    *NIC_FIELDS.values(),
    "tags",
    *DISK_FIELDS.values(),
    *(f"hv/{each}" for each in HYPERVISOR_FIELDS),
)


def _rows(row: dict[str, Any], fields: dict[str, str]) -> list[dict[str, Any]]:
    columns = [row.get(source) for source in fields.values()]
    lists = [column if isinstance(column, list) else [] for column in columns]
    return [
        {
            name: column[place] if place < len(column) else None
            for name, column in zip(fields, lists, strict=True)
        }
        for place in range(max(map(len, lists), default=0))
    ]
