"""What RAPI is asked and told: filters and bodies, as it wants them.

The functions that write a body check that every text in it is ASCII, since one other character
in a job can stop a cluster's whole queue.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from cyclades_tx.ganeti.interfaces import GanetiRefused
from cyclades_tx.model.instance import KeptDisk, NewDisk, NewInstance, NewNetwork, NewNic

#: What Ganeti calls the jobs on one instance or network; only tag jobs hide the name.
SUMMARIES = (
    "INSTANCE_CREATE", "INSTANCE_REMOVE", "INSTANCE_STARTUP", "INSTANCE_SHUTDOWN",
    "INSTANCE_REBOOT", "INSTANCE_SET_PARAMS", "INSTANCE_REINSTALL", "INSTANCE_GROW_DISK",
    "NETWORK_ADD", "NETWORK_CONNECT", "NETWORK_DISCONNECT", "NETWORK_REMOVE",
)  # fmt: skip
NAMELESS_SUMMARIES = ("TAGS_SET", "TAGS_DEL")

#: In a dependency: the other job must have ended, however it did.
ENDED = ["canceled", "success", "error"]


# Asking ------------------------------------------------------------------------------------


def has_one_of(tags: Iterable[str]) -> list[Any]:
    """Return the filter for what has at least one of these tags."""
    return ["|", *(["=[]", "tags", tag] for tag in tags)]


def any_of(field: str, values: Iterable[Any]) -> list[Any]:
    """Return the filter "the field is one of these", which a missing one does not upset.

    A bare ``["|", ["=", "name", …]]`` is taken by Ganeti as a list of names, each of which
    must exist; inside an ``&`` it is a filter like any other.
    """
    return ["&", ["|", *(["=", field, value] for value in values)]]


def these_jobs(ids: Iterable[int]) -> list[Any]:
    """Return the filter for jobs by id: bare, so that Ganeti reads only their files.

    An unknown id gives a row without values.
    """
    return ["|", *(["=", "id", number] for number in ids)]


def begins_with(prefix: str) -> list[Any] | None:
    """Return the filter "the name begins with this", or None for the empty prefix."""
    return ["=~", "name", "^" + re.escape(prefix)] if prefix else None


def jobs_on(name: str) -> list[Any]:
    """Return the filter for every job on the instance or network ``name``.

    Tag jobs do not say what they are about; all come, :func:`.replies.concerns` picks ours.
    """
    named = [["=[]", "summary", f"{kind}({name})"] for kind in SUMMARIES]
    return ["|", *named, *(["=[]", "summary", kind] for kind in NAMELESS_SUMMARIES)]


# Changing ----------------------------------------------------------------------------------


def check_ascii(value: Any, what: str) -> None:
    """Refuse a body, path or query with a text that is not printable ASCII.

    :raise GanetiRefused: with status 0; nothing was sent.
    """
    if isinstance(value, str):
        if not value.isascii() or "\0" in value:
            raise GanetiRefused(
                f"Ganeti takes only ASCII text, and {what} has another character "
                f"({value.encode('ascii', 'backslashreplace').decode()[:60]}).",
                status=0,
            )
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            check_ascii(key, what)
            check_ascii(entry, f"{what}.{key}")
    elif isinstance(value, (list, tuple)):
        for entry in value:
            check_ascii(entry, what)


def to_json(body: Mapping[str, Any]) -> bytes:
    """Return a body's bytes; the keys are sorted so that equal bodies are equal bytes."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def create_body(new: NewInstance) -> dict[str, Any]:
    """Return the body of ``POST /2/instances``; unless it is said, the allocator picks the node."""
    body: dict[str, Any] = {
        "__version__": 1,
        "mode": "create",
        "name": new.name,
        "disk_template": new.disk_template,
        "disks": [disk_words(disk) for disk in new.disks],
        "nics": [nic_words(nic) for nic in new.nics],
        "os": new.os,
        "osparams": dict(new.osparams),
        "hvparams": dict(new.hvparams),
        "beparams": {"auto_balance": True, "vcpus": new.vcpus, "memory": new.memory_mib},
        "wait_for_sync": new.wait_for_sync,
        "opportunistic_locking": new.opportunistic_locking,
        "ip_check": False,
        "name_check": False,
        "start": new.start and new.install,
        "tags": list(new.tags),
    }
    if not new.install:
        body["no_install"] = True
    body = within(body, new.within_policy)
    if new.node is not None:
        # Ganeti refuses opportunistic locking where no allocator is asked.
        body.update(pnode=new.node, opportunistic_locking=False)
    return body


def within(body: dict[str, Any], policy: bool) -> dict[str, Any]:
    """Return a body that is, or is not, held against what the cluster allows instances to be."""
    return body if policy else {**body, "ignore_ipolicy": True}


def put_on_words(disks: Iterable[NewDisk | KeptDisk], instead_of: str) -> list[list[Any]]:
    """Return the changes that put disks in the place of one, in their order.

    The first comes before the old one goes: a directory of files goes with the last of them.
    """
    changes: list[list[Any]] = [
        ["attach", "-1", {"uuid": disk.uuid}]
        if isinstance(disk, KeptDisk)
        else ["add", "-1", disk_words(disk)]
        for disk in disks
    ]
    return [*changes[:1], ["remove", instead_of, {}], *changes[1:]]


def disk_words(disk: NewDisk) -> dict[str, Any]:
    """Return one disk as a create or an "add" wants it."""
    words: dict[str, Any] = {**disk.extra, "name": disk.name, "size": disk.size_mib}
    if disk.provider is not None:
        words["provider"] = disk.provider
    return words


def nic_words(nic: NewNic) -> dict[str, Any]:
    """Return one interface as a create or an "add" wants it."""
    words = {"name": nic.name, "network": nic.network, "ip": nic.ip}
    return words if nic.mac is None else {**words, "mac": nic.mac}


def network_body(new: NewNetwork) -> dict[str, Any]:
    """Return the body of ``POST /2/networks``."""
    return {
        "network_name": new.name,
        "network": new.cidr,
        "gateway": new.gateway,
        "network6": new.cidr6,
        "gateway6": new.gateway6,
        "mac_prefix": new.mac_prefix,
        "add_reserved_ips": list(new.reserved_ips) or None,
        "conflicts_check": new.conflicts_check,
        "tags": list(new.tags),
    }


def depends_words(ids: Iterable[int]) -> list[list[Any]]:
    """Return the dependency on the end of these jobs, whatever their result."""
    return [[number, list(ENDED)] for number in ids]
