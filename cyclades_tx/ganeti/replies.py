"""What RAPI answers, as our values: pure functions of its JSON.

What a cluster sends is a stranger's: every function here raises :class:`OddReply` when it has
another shape than Ganeti 3 gives, and nothing else.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

from cyclades_tx.ganeti.interfaces import GanetiUnavailable
from cyclades_tx.model.instance import (
    Capacity,
    ClusterInfo,
    Instance,
    InstanceGlance,
    Node,
    Power,
    SeenDisk,
    SeenNetwork,
    SeenNic,
)
from cyclades_tx.model.job import Job, JobStatus

INSTANCE_FIELDS = (
    "name", "status", "serial_no", "pnode", "be/vcpus", "be/maxmem", "network_port",
    "nic.names", "nic.macs", "nic.ips", "nic.networks.names", "nic.uuids", "nic.modes",
    "nic.links", "disk.names", "disk.sizes", "disk.uuids", "tags", "uuid",
)  # fmt: skip
TAG_FIELDS = ("name", "tags")
GLANCE_FIELDS = ("name", "status", "serial_no")
NODE_FIELDS = ("name", "pip")
NETWORK_FIELDS = (
    "name", "network", "gateway", "network6", "gateway6", "mac_prefix", "group_list", "tags",
    "external_reservations", "inst_cnt",
)  # fmt: skip
JOB_FIELDS = ("id", "status", "summary", "opresult", "oplog", "end_ts")
JOB_FIELDS_WITH_REASON = (*JOB_FIELDS, "ops")

_POWER = {
    "running": Power.RUNNING,
    "ERROR_up": Power.RUNNING,
    "ADMIN_down": Power.STOPPED,
    "ADMIN_offline": Power.STOPPED,
    "ERROR_down": Power.STOPPED,
    "USER_down": Power.STOPPED,
}
_LONGEST_MESSAGE = 2000
_NORMAL = 0  # the first number of a query's pair: a value
_UNKNOWN_FIELD = 1


class OddReply(GanetiUnavailable):
    """The cluster's reply is not one that Ganeti gives; the question counts as unanswered."""

    code = "ganeti_odd_reply"


def error_text(body: Any) -> str:
    """Return the message of RAPI's error object with its HTML entities undone, or ""."""
    if not isinstance(body, dict) or not isinstance(body.get("message"), str):
        return ""
    return html.unescape(body["message"])[:_LONGEST_MESSAGE]


def job_id(body: Any) -> int:
    """Return the job id that a change was answered with: a number, in old versions a text.

    :raise OddReply: when it is neither.
    """
    if isinstance(body, str) and re.fullmatch(r"[0-9]{1,18}", body):
        return int(body)
    return _integer(body, "job id")


def cancelled(body: Any) -> bool:
    """Return the answer to a cancel: ``[true, "Dequeued job 118"]``."""
    answer = _list(body, "answer to a cancel")
    if not answer or not isinstance(answer[0], bool):
        raise _odd("answer to a cancel", body)
    return answer[0]


def info(body: Any) -> ClusterInfo:
    """Return what ``GET /2/info`` said."""
    seen = _object(body, "cluster information")
    allocator = seen.get("default_iallocator")
    return ClusterInfo(
        name=_text(seen.get("name"), "cluster name"),
        version=_text(seen.get("software_version"), "software version"),
        master=_text(seen.get("master"), "master"),
        hypervisor=_text(seen.get("default_hypervisor"), "default hypervisor"),
        hypervisors=_texts(seen.get("enabled_hypervisors"), "hypervisors"),
        disk_templates=_texts(seen.get("enabled_disk_templates"), "disk templates"),
        default_iallocator=allocator if isinstance(allocator, str) and allocator else None,
    )


def capacity(body: Any) -> Capacity:
    """Sum up ``GET /2/nodes?bulk=1`` over the usable nodes.

    An offline node has nulls for its figures; one without CPUs counts as unusable.
    """
    usable = [
        node
        for node in nodes(body)
        if not node.offline and not node.drained and node.vm_capable and node.cpus
    ]
    return Capacity(
        memory_free_mib=sum(node.memory_free_mib for node in usable),
        memory_total_mib=sum(node.memory_total_mib for node in usable),
        disk_free_mib=sum(node.disk_free_mib for node in usable),
        disk_total_mib=sum(node.disk_total_mib for node in usable),
        cpus=sum(node.cpus for node in usable),
        instances=sum(node.instances for node in usable),
        nodes=len(usable),
    )


def nodes(body: Any) -> tuple[Node, ...]:
    """Read the nodes of ``GET /2/nodes?bulk=1``."""
    found = []
    for entry in _list(body, "nodes"):
        node = _object(entry, "node")
        figures = [
            _integer(node.get(key) or 0, key)
            for key in ("mfree", "mtotal", "dfree", "dtotal", "ctotal", "pinst_cnt")
        ]
        found.append(
            Node(
                _text(node.get("name"), "node name"),
                bool(node.get("drained")),
                bool(node.get("offline")),
                bool(node.get("vm_capable", True)),
                *figures,
            )
        )
    return tuple(found)


def groups(body: Any) -> tuple[str, ...]:
    """Return the names in ``GET /2/groups``."""
    return tuple(
        _text(_object(entry, "group").get("name"), "group name") for entry in _list(body, "groups")
    )


def rows(body: Any, fields: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of a query resource by field name; what has no value is None.

    :raise OddReply: also when the cluster does not know one of the fields.
    """
    found = []
    for entry in _list(_object(body, "query reply").get("data"), "query rows"):
        pairs = _list(entry, "query row")
        if len(pairs) != len(fields):
            raise _odd("query row", entry)
        row: dict[str, Any] = {}
        for field, pair in zip(fields, pairs, strict=True):
            if not isinstance(pair, list) or len(pair) != 2 or pair[0] == _UNKNOWN_FIELD:
                raise _odd(f"query value of {field}", pair)
            row[field] = pair[1] if pair[0] == _NORMAL else None
        found.append(row)
    return found


def power(status: str) -> Power:
    """Return what Ganeti's status word says about the machine's power."""
    return _POWER.get(status, Power.UNKNOWN)


def instance(row: Mapping[str, Any]) -> Instance:
    """Return an instance from a row of :data:`INSTANCE_FIELDS`."""
    name = _text(row["name"], "instance name")
    status = _text(row["status"], f"status of {name}")
    return Instance(
        name=name,
        status=status,
        power=power(status),
        pnode=_text_or_none(row["pnode"], "primary node"),
        vcpus=_integer_or_none(row["be/vcpus"], "vcpus"),
        memory_mib=_integer_or_none(row["be/maxmem"], "maxmem"),
        network_port=_integer_or_none(row["network_port"], "network port"),
        nics=_nics(row),
        disks=_disks(row),
        tags=_texts(row["tags"], "tags"),
        serial=_integer_or_none(row["serial_no"], "serial number"),
        uuid=_text_or_none(row["uuid"], "uuid") or "",
    )


def tags_of(row: Mapping[str, Any]) -> tuple[str, frozenset[str]]:
    """Return an instance's name and tags from a row of :data:`TAG_FIELDS`."""
    return _text(row["name"], "instance name"), frozenset(_texts(row["tags"], "tags"))


def glance(row: Mapping[str, Any]) -> InstanceGlance:
    """Return the glance at one instance from a row of :data:`GLANCE_FIELDS`."""
    name = _text(row["name"], "instance name")
    status = _text(row["status"], f"status of {name}")
    return InstanceGlance(
        name=name,
        status=status,
        power=power(status),
        serial=_integer_or_none(row["serial_no"], "serial number"),
    )


def node_address(row: Mapping[str, Any]) -> str:
    """Return a node's primary address from a row of :data:`NODE_FIELDS`.

    :raise OddReply: when it is no IP address.
    """
    text = _text(row["pip"], "primary address of a node")
    try:
        return str(ip_address(text))
    except ValueError:
        raise _odd("primary address of a node", text) from None


def network(row: Mapping[str, Any]) -> SeenNetwork:
    """Return a network from a row of :data:`NETWORK_FIELDS`."""
    name = _text(row["name"], "network name")
    connected = []
    for entry in _list(row["group_list"] or [], "group list"):
        words = _list(entry, "group of a network")
        if len(words) < 3:
            raise _odd("group of a network", entry)
        group, mode, link = (_text(word, "group of a network") for word in words[:3])
        connected.append((group, mode, link))
    return SeenNetwork(
        name=name,
        cidr=_text_or_none(row["network"], "subnet"),
        groups=tuple(connected),
        tags=_texts(row["tags"] or [], "tags"),
        gateway=_text_or_none(row["gateway"], "gateway"),
        cidr6=_text_or_none(row["network6"], "IPv6 subnet"),
        gateway6=_text_or_none(row["gateway6"], "IPv6 gateway"),
        mac_prefix=_text_or_none(row["mac_prefix"], "MAC prefix"),
        reserved=_listed(row["external_reservations"], "reserved addresses"),
        instances=_integer_or_none(row["inst_cnt"], "number of instances") or 0,
    )


def job(row: Mapping[str, Any]) -> Job:
    """Return a job from a row of :data:`JOB_FIELDS`, with or without ``ops``.

    A null status means that the queue has no such job.
    """
    number = _integer(row["id"], "job id")
    if row["status"] is None:
        return Job(number, JobStatus.UNKNOWN)
    try:
        status = JobStatus(_text(row["status"], "job status"))
    except ValueError:
        raise _odd("job status", row["status"]) from None
    summary = _texts(row["summary"] or [], "job summary")
    message, code = _first_error(row["opresult"])
    return Job(
        id=number,
        status=status,
        message=message if status in (JobStatus.ERROR, JobStatus.CANCELED) else "",
        error_code=code if status is JobStatus.ERROR else "",
        reasons=_reasons(row.get("ops")),
        summary=", ".join(summary),
        log=_newest_log(row["oplog"]),
        ended_at=_moment(row["end_ts"]) if status.final else None,
        pending_restart=status is JobStatus.SUCCESS and _hotplug_failed(row["opresult"]),
    )


def concerns(row: Mapping[str, Any], name: str) -> bool:
    """Say whether a job's opcodes name this instance or network (tag jobs hide it in ``ops``)."""
    for op in _list(row.get("ops") or [], "opcodes"):
        fields = _object(op, "opcode")
        if name in (fields.get("instance_name"), fields.get("network_name"), fields.get("name")):
            return True
    return False


def _nics(row: Mapping[str, Any]) -> tuple[SeenNic, ...]:
    columns = _columns(
        row, "nic.macs", "nic.names", "nic.ips", "nic.networks.names", "nic.uuids",
        "nic.modes", "nic.links",
    )  # fmt: skip
    return tuple(
        SeenNic(
            mac=_text(mac, "MAC address"),
            name=_text_or_none(name, "interface name"),
            ip=_text_or_none(ip, "address") or None,
            network=_text_or_none(net, "network of an interface"),
            uuid=_text_or_none(uuid, "uuid of an interface") or "",
            mode=_text_or_none(mode, "mode"),
            link=_text_or_none(link, "link"),
        )
        for mac, name, ip, net, uuid, mode, link in columns
    )


def _disks(row: Mapping[str, Any]) -> tuple[SeenDisk, ...]:
    return tuple(
        SeenDisk(
            name=_text_or_none(name, "disk name"),
            size_mib=_integer(size, "disk size"),
            uuid=_text_or_none(uuid, "uuid of a disk") or "",
        )
        for size, name, uuid in _columns(row, "disk.sizes", "disk.names", "disk.uuids")
    )


def _columns(row: Mapping[str, Any], *fields: str) -> list[tuple[Any, ...]]:
    """Turn lists of the same length, one a field, into one tuple an object."""
    columns = [_list(row[field] or [], field) for field in fields]
    if len({len(column) for column in columns}) != 1:
        raise _odd(fields[0], columns[0])
    return list(zip(*columns, strict=True))


def _first_error(results: Any) -> tuple[str, str]:
    """Return text and code of the first error among the results of a job's opcodes.

    An error is ``[class, [text, code]]`` with the code often missing; a job that was
    canceled while it waited has a bare text.
    """
    for result in _list(results or [], "job results"):
        if isinstance(result, str) and result:
            return html.unescape(result)[:_LONGEST_MESSAGE], ""
        if not (isinstance(result, list) and len(result) == 2 and isinstance(result[0], str)):
            continue
        if not result[0].endswith("Error") and result[0] not in (
            "JobCanceled",
            "QuitGanetiException",
        ):
            continue
        words = result[1] if isinstance(result[1], list) else [result[1]]
        text = words[0] if words and isinstance(words[0], str) else result[0]
        code = words[1] if len(words) > 1 and isinstance(words[1], str) else ""
        return html.unescape(text)[:_LONGEST_MESSAGE], code[:100]
    return "", ""


def _hotplug_failed(results: Any) -> bool:
    """Whether a change of a running machine's devices did not reach it.

    Ganeti counts such a job as a success; only a pair in its result tells.
    """
    for result in _list(results or [], "job results"):
        for change in result if isinstance(result, list) else ():
            if isinstance(change, list) and len(change) == 2 and change[1] == "hotplug:failed":
                return True
    return False


def _reasons(ops: Any) -> tuple[str, ...]:
    found = []
    for op in _list(ops or [], "opcodes"):
        for entry in _list(_object(op, "opcode").get("reason") or [], "reason trail"):
            words = _list(entry, "reason")
            if len(words) >= 2 and words[0] == "gnt:user" and isinstance(words[1], str):
                found.append(words[1])
    return tuple(dict.fromkeys(found))


def _newest_log(logs: Any) -> str:
    newest = ""
    for log in _list(logs or [], "job log"):
        for line in _list(log or [], "job log"):
            words = _list(line, "log line")
            if words and isinstance(words[-1], str):
                newest = words[-1]
    return newest.strip()[:_LONGEST_MESSAGE]


def _moment(stamp: Any) -> datetime | None:
    """Return a ``[seconds, microseconds]`` of the cluster's clock as an aware UTC time."""
    if stamp is None:
        return None
    words = _list(stamp, "time")
    if len(words) != 2:
        raise _odd("time", stamp)
    seconds, microseconds = (_integer(word, "time") for word in words)
    try:
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds)
    except (ValueError, OverflowError, OSError):
        raise _odd("time", stamp) from None


def _odd(what: str, value: Any) -> OddReply:
    return OddReply(f"The cluster's reply has an unexpected {what}: {_short(value)}")


def _short(value: Any) -> str:
    return f"a {type(value).__name__}" if isinstance(value, (dict, list)) else repr(value)[:60]


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise _odd(what, value)
    return value


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _odd(what, value)
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise _odd(what, value)
    return value


def _text_or_none(value: Any, what: str) -> str | None:
    return None if value is None else _text(value, what)


def _texts(value: Any, what: str) -> tuple[str, ...]:
    return tuple(_text(entry, what) for entry in _list(value, what))


def _listed(value: Any, what: str) -> tuple[str, ...]:
    """The parts of a text with commas between."""
    text = _text_or_none(value, what) or ""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _integer(value: Any, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _odd(what, value)
    return value


def _integer_or_none(value: Any, what: str) -> int | None:
    return None if value is None else _integer(value, what)
