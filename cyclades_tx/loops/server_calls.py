"""What each step of an operation on a server asks of its cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cyclades_tx.ganeti.interfaces import GanetiRefused
from cyclades_tx.image_store.signing import Locate, as_it_is
from cyclades_tx.loops import procedures, volumes
from cyclades_tx.loops.cluster import ClusterWork
from cyclades_tx.loops.firewalls import Firewalls
from cyclades_tx.model import creation
from cyclades_tx.model.image import deployed_format
from cyclades_tx.model.instance import NewDisk, NewInstance, NewNic
from cyclades_tx.model.moves import UNSEEN, Seen
from cyclades_tx.model.operation import Operation
from cyclades_tx.model.ownership import owner_tag
from cyclades_tx.model.step import CLEAN, LET_GO, TAG, UNTAG, Submit
from cyclades_tx.sections import GanetiSection
from cyclades_tx.store import servers, volume_attachments

Call = Callable[[], Any]


class ServerCalls:
    """Makes the calls of steps out of what the database has.

    :param open_token: opens a sealed token; see :class:`~.servers.ServerWork`.
    :param config_url: makes the URL of the first boot's document from its token.
    :param locate: says from where the cluster gets an image.
    """

    def __init__(
        self,
        work: ClusterWork,
        open_token: Callable[[str, str], str],
        config_url: Callable[[str], str],
        ganeti: GanetiSection,
        firewalls: Firewalls,
        locate: Locate = as_it_is,
    ) -> None:
        self._work = work
        self._open_token = open_token
        self._config_url = config_url
        self._ganeti = ganeti
        self._firewalls = firewalls
        self._locate = locate

    async def of(
        self, server_id: int, operation: Operation, step: Submit, seen: Seen = UNSEEN
    ) -> Call:
        """What to call at the cluster for a step; everything that it needs is read before.

        :param seen: the instance, where the step needs a sight of it.
        :raise GanetiRefused: when the step cannot be asked for; nothing was sent.
        """
        cluster = self._work.cluster
        name = self._work.names.instance(server_id)
        trail = replace(operation, step=step.step, attempt=step.attempt).trail()
        if step.step == "create":
            new = await self._new_instance(server_id, operation)
            return lambda: cluster.create_instance(new, trail)
        if step.step == creation.PUT_ON:
            return await volumes.in_place(
                self._work.database, cluster, self._work.names, trail, server_id
            )
        if procedures.is_step(operation, step.step):
            return await procedures.request(
                self._work.database,
                cluster,
                name,
                trail,
                operation,
                step.step,
                os=self._ganeti.os,
                config_url=self._config_url(await self.token(operation) or ""),
                boot_order=self._boot_order(),
                locate=self._locate,
            )
        if step.step in ("delete", CLEAN):
            # Nobody waits for the guest of a server that goes: Ganeti would, for two minutes.
            return lambda: cluster.remove_instance(name, trail, 0)
        if step.step == "start":
            return lambda: cluster.start_instance(name, trail)
        if step.step == "stop":
            grace = operation.arguments.get("timeout_seconds")
            return lambda: cluster.stop_instance(name, trail, grace)
        if step.step == "reboot":
            hard = operation.arguments.get("type") == "HARD"
            return lambda: cluster.reboot_instance(name, trail, hard)
        if step.step == TAG:
            return lambda: cluster.add_tags(name, trail, step.tags)
        if step.step == UNTAG:
            return lambda: cluster.remove_tags(name, trail, step.tags)
        if step.step == "attach_port":
            hotplug = bool(operation.arguments.get("hotplug"))
            new_nic = await self._new_nic(operation)
            return lambda: cluster.add_nic(name, trail, new_nic, hotplug)
        if step.step == "detach_port":
            hotplug = bool(operation.arguments.get("hotplug"))
            nic = await self._known_nic(operation)
            return lambda: cluster.remove_nic(name, trail, nic, hotplug)
        if step.step == LET_GO:
            return lambda: cluster.detach_disk(name, trail, step.disk, False)
        if operation.kind in volumes.KINDS:
            return await volumes.request(
                self._work.database, cluster, self._work.names, trail, operation, seen
            )
        raise GanetiRefused(f"Operations of the kind {operation.kind} are not known.", 501)

    async def _new_nic(self, operation: Operation) -> NewNic:
        row = await servers.nic_of(self._work.database, operation.arguments.get("port_id"))
        if row is None or row.server_id != operation.server_id:
            raise GanetiRefused("The port is gone.", 404)
        names = self._work.names
        return NewNic(names.nic(row.id), names.network(row.network_id), row.ip, row.mac)

    async def _known_nic(self, operation: Operation) -> str:
        """By what the cluster knows an interface: our name, or its own id for it."""
        row = await servers.nic_of(self._work.database, operation.arguments.get("port_id"))
        if row is None or row.server_id != operation.server_id:
            raise GanetiRefused("The port is gone.", 404)
        return row.ganeti_uuid or self._work.names.nic(row.id)

    def _boot_order(self) -> str:
        given = self._ganeti.hvparams.get(self._work.hypervisor, {})
        return str(given.get("boot_order", "disk"))

    async def _new_instance(self, server_id: int, operation: Operation) -> NewInstance:
        database = self._work.database
        row = await servers.for_create(database, server_id)
        token = await self.token(operation)
        names = self._work.names
        disks = [
            await volumes.new_disk(database, names, disk)
            for disk in await servers.disks_of(database, server_id)
            if row.disk_template != "diskless"
        ]
        node = None
        if creation.puts_on(operation.arguments):
            disks = [NewDisk(names.place(server_id), creation.PLACE_MIB)]
            node = await volume_attachments.node_of_first(database, server_id)
        installs = creation.installs(operation.arguments)
        nics = tuple(
            NewNic(names.nic(port.id), names.network(port.network_id), port.ip, port.mac)
            for port in await servers.nics_of(database, server_id)
        )
        return NewInstance(
            name=names.instance(server_id),
            disk_template=row.disk_template,
            disks=tuple(disks),
            nics=nics,
            vcpus=row.vcpus,
            memory_mib=row.memory_mib,
            os=self._ganeti.os,
            osparams={
                "config_url": self._config_url(token or ""),
                "img_id": self._locate(row.image_location) or "null" if installs else "null",
                "img_format": deployed_format(row.image_format),
            },
            hvparams=dict(self._ganeti.hvparams.get(self._work.hypervisor, {})),
            tags=(owner_tag(str(row.uuid)), *await self._firewalls.tags(server_id)),
            wait_for_sync=self._ganeti.wait_for_sync,
            opportunistic_locking=self._ganeti.opportunistic_locking,
            node=node,
            install=installs,
        )

    async def token(self, operation: Operation) -> str | None:
        """The token of the first boot that an operation prepares, or None."""
        sealed = operation.arguments.get("config_token")
        if not isinstance(sealed, str) or operation.server_id is None:
            return None
        row = await servers.for_create(self._work.database, operation.server_id)
        return self._open_token(str(row.uuid), sealed)
