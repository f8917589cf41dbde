"""What each step of a procedure asks of the cluster; everything that it needs is read before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cyclades_tx.image_store.signing import Locate, as_it_is
from cyclades_tx.model import procedure
from cyclades_tx.model.image import deployed_format
from cyclades_tx.model.operation import Operation
from cyclades_tx.store import servers

Request = Callable[[], Any]


def is_step(operation: Operation, step: str) -> bool:
    """Whether a step is one that :func:`request` knows."""
    return operation.kind in procedure.KINDS and step not in (procedure.STOP, procedure.START)


async def request(
    database: Any,
    cluster: Any,
    name: str,
    trail: str,
    operation: Operation,
    step: str,
    *,
    os: str,
    config_url: str,
    boot_order: str,
    locate: Locate = as_it_is,
) -> Request:
    """The call that does a step.

    :param step: a step of the operation; its plain stops and starts are the caller's.
    :param config_url: where a new system finds what it is told.
    :param boot_order: how the machine boots when it is not rescued.
    :param locate: says from where the cluster gets an image.
    """
    wanted = operation.arguments
    if step == procedure.RESTART:
        return lambda: cluster.start_instance(name, trail)
    if step == procedure.GROW:
        return lambda: cluster.grow_disk(name, trail, 0, wanted["grow_gib"] * 1024)
    if step == procedure.PARAMETERS:
        image = await servers.image_of(database, wanted["image_id"])
        osparams = {
            "config_url": config_url,
            "img_id": locate(image.location) or "null",
            "img_format": deployed_format(image.disk_format),
        }
        return lambda: cluster.set_os_parameters(name, trail, osparams)
    if step == procedure.INSTALL:
        start = bool(wanted.get("start"))
        return lambda: cluster.reinstall_instance(name, trail, os, {}, start)
    if operation.kind == "resize":
        old = "old_" if step == procedure.UNSET else ""
        vcpus, memory_mib = wanted[f"{old}vcpus"], wanted[f"{old}memory_mib"]
        return lambda: cluster.resize_instance(name, trail, vcpus, memory_mib)
    rescued = (operation.kind == "rescue") == (step == procedure.SET)
    hvparams: dict[str, object] = {
        "boot_order": "cdrom" if rescued else boot_order,
        "cdrom_image_path": wanted["location"] if rescued else "",
    }
    return lambda: cluster.set_hypervisor_parameters(name, trail, hvparams)
