"""RAPI bodies become opcodes, or are refused in RAPI's words."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from cyclades_tx.ganeti.simulator.opcodes import Op


class RapiFault(Exception):
    """RAPI's answer is an error: status and message (as yet without HTML escapes)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


_COMMON = {"depends": list, "comment": str, "priority": int, "dry_run": bool}
_CREATE = {
    **_COMMON, "__version__": int, "mode": str, "name": str, "instance_name": str,
    "disk_template": str, "disks": list, "nics": list, "os": str, "os_type": str,
    "osparams": dict, "hvparams": dict, "beparams": dict, "wait_for_sync": bool,
    "opportunistic_locking": bool, "ip_check": bool, "name_check": bool, "start": bool,
    "tags": list, "pnode": str, "iallocator": str, "no_install": bool, "hypervisor": str,
    "conflicts_check": bool, "ignore_ipolicy": bool,
}  # fmt: skip
_MODIFY = {
    **_COMMON, "nics": list, "disks": list, "beparams": dict, "hvparams": dict,
    "osparams": dict, "os_name": str, "wait_for_sync": bool, "hotplug": bool,
    "hotplug_if_possible": bool, "force": bool, "conflicts_check": bool, "ignore_ipolicy": bool,
}  # fmt: skip
_REINSTALL = {"os": str, "start": bool, "osparams": dict}
_NETWORK = {
    **_COMMON, "network_name": str, "network": str, "gateway": str, "network6": str,
    "gateway6": str, "mac_prefix": str, "add_reserved_ips": list, "conflicts_check": bool,
    "tags": list,
}  # fmt: skip
_CONNECT = {
    **_COMMON, "group_name": str, "network_mode": str, "network_link": str,
    "network_vlan": str, "conflicts_check": bool,
}  # fmt: skip
_TEMPLATES = {
    "diskless", "file", "sharedfile", "plain", "drbd", "ext", "rbd", "blockdev", "gluster",
}  # fmt: skip


def check(op_class: str, body: dict[str, Any], known: dict[str, type]) -> None:
    """Refuse fields that the opcode does not have, and values of a wrong type."""
    for key, value in body.items():
        if key not in known:
            raise RapiFault(
                400,
                f"Invalid body parameters: Object {op_class} doesn't support the parameter '{key}'",
            )
        if value is None:
            continue
        wanted = known[key]
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            raise _wrong(op_class, key)
    for entry in body.get("depends") or ():
        if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], int)):
            raise _wrong(op_class, "depends")
        if not isinstance(entry[1], list):
            raise _wrong(op_class, "depends")


def create(body: dict[str, Any]) -> Op:
    """Return the opcode of ``POST /2/instances``."""
    if body.get("__version__") != 1:
        raise RapiFault(400, "Instance creation request version 0 is no longer supported")
    check("OpInstanceCreate", body, _CREATE)
    name = body.get("name", body.get("instance_name"))
    if name is None or body.get("mode") != "create":
        raise RapiFault(400, "Missing required parameter 'name' or 'mode'")
    if body.get("disk_template") not in _TEMPLATES:
        raise _wrong("OpInstanceCreate", "disk_template")
    for key in ("disks", "nics"):
        if not all(isinstance(entry, dict) for entry in body.get(key) or ()):
            raise _wrong("OpInstanceCreate", key)
    kept = {key: body[key] for key in body if key not in ("__version__", "name", "os")}
    op: Op = {
        **kept,
        "OP_ID": "OP_INSTANCE_CREATE",
        "instance_name": name,
        "os_type": body.get("os", body.get("os_type", "")),
    }
    for key, empty in (("disks", list), ("nics", list), ("tags", list)):
        op[key] = body.get(key) or empty()
    for key in ("beparams", "osparams", "hvparams"):
        op[key] = body.get(key) or {}
    return op


def modify(name: str, body: dict[str, Any]) -> Op:
    """Return the opcode of ``PUT /2/instances/NAME/modify``."""
    check("OpInstanceSetParams", body, _MODIFY)
    for key in ("nics", "disks"):
        for entry in body.get(key) or ():
            if not _is_change(entry):
                raise _wrong("OpInstanceSetParams", key)
    return {**body, "OP_ID": "OP_INSTANCE_SET_PARAMS", "instance_name": name}


def reinstall(name: str, body: dict[str, Any]) -> list[Op]:
    """Return the opcodes of ``POST /2/instances/NAME/reinstall``: stop, install, start."""
    check("OpInstanceReinstall", body, _REINSTALL)
    ops: list[Op] = [
        {"OP_ID": "OP_INSTANCE_SHUTDOWN", "instance_name": name},
        {
            "OP_ID": "OP_INSTANCE_REINSTALL",
            "instance_name": name,
            "os_type": body.get("os"),
            "osparams": body.get("osparams") or {},
        },
    ]
    if body.get("start", True):
        ops.append({"OP_ID": "OP_INSTANCE_STARTUP", "instance_name": name})
    return ops


def grow(name: str, index: str, body: dict[str, Any]) -> Op:
    """Return the opcode of ``POST /2/instances/NAME/disk/INDEX/grow``."""
    known = {**_COMMON, "amount": int, "absolute": bool, "wait_for_sync": bool}
    check("OpInstanceGrowDisk", body, known)
    if not index.isdecimal() or not isinstance(body.get("amount"), int):
        raise _wrong("OpInstanceGrowDisk", "amount" if index.isdecimal() else "disk")
    return {
        **body,
        "OP_ID": "OP_INSTANCE_GROW_DISK",
        "instance_name": name,
        "disk": int(index),
    }


def network_add(body: dict[str, Any]) -> Op:
    """Return the opcode of ``POST /2/networks``."""
    check("OpNetworkAdd", body, _NETWORK)
    if not isinstance(body.get("network_name"), str):
        raise RapiFault(400, "Missing required parameter 'network_name'")
    for key in ("network", "gateway", "network6", "gateway6"):
        value: Any = body.get(key)
        try:
            if "network" in key and (value is not None or key == "network"):
                ipaddress.ip_network(value)
            elif value is not None:
                ipaddress.ip_address(value)
        except ValueError:
            raise _wrong("OpNetworkAdd", key) from None
    for value in body.get("add_reserved_ips") or ():
        try:
            ipaddress.ip_address(value)
        except ValueError:
            raise _wrong("OpNetworkAdd", "add_reserved_ips") from None
    return {**body, "OP_ID": "OP_NETWORK_ADD"}


def network_connect(name: str, body: dict[str, Any]) -> Op:
    """Return the opcode of ``PUT /2/networks/NAME/connect``."""
    check("OpNetworkConnect", body, _CONNECT)
    if body.get("network_mode") not in ("bridged", "routed", "openvswitch"):
        raise _wrong("OpNetworkConnect", "network_mode")
    _need("OpNetworkConnect", body, ("group_name", "network_link"))
    return {**body, "OP_ID": "OP_NETWORK_CONNECT", "network_name": name}


def network_disconnect(name: str, body: dict[str, Any]) -> Op:
    """Return the opcode of ``PUT /2/networks/NAME/disconnect``."""
    check("OpNetworkDisconnect", body, {**_COMMON, "group_name": str})
    _need("OpNetworkDisconnect", body, ("group_name",))
    return {**body, "OP_ID": "OP_NETWORK_DISCONNECT", "network_name": name}


def simple(op_id: str, key: str, name: str, body: dict[str, Any], **known: type) -> Op:
    """Return an opcode that has little more than the name of its subject."""
    check(op_id, body, {**_COMMON, **known})
    return {**body, "OP_ID": op_id, key: name}


def _need(op_class: str, body: dict[str, Any], keys: Iterable[str]) -> None:
    for key in keys:
        if not isinstance(body.get(key), str):
            raise _wrong(op_class, key)


def _is_change(entry: Any) -> bool:
    return (
        isinstance(entry, list)
        and len(entry) == 3
        and entry[0] in ("add", "remove", "modify", "attach", "detach")
        and isinstance(entry[1], (str, int))
        and isinstance(entry[2], dict)
    )


def _wrong(op_class: str, key: str) -> RapiFault:
    return RapiFault(
        400,
        f"Invalid body parameters: (\"Parameter '{op_class}.{key}' fails validation\", "
        "'wrong_input')",
    )
