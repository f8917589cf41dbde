"""Changes of a server that its cluster must make true: its power, its size, the rescue image."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from cyclades_tx.errors import BadRequest, Conflict, NoCapacity, NotFound, NotSupported
from cyclades_tx.flows.images import Images
from cyclades_tx.flows.server_details import ServerDetails
from cyclades_tx.model import password, placement, quota
from cyclades_tx.model.moves import ALLOWED, ERROR, RESIZED
from cyclades_tx.model.who import Who
from cyclades_tx.sections import GanetiSection, OperationsSection
from cyclades_tx.store import (
    flavors,
    operations,
    outbox,
    procedures,
    project_limits,
    quotas,
    servers,
)

#: How many resizes are confirmed in one go.
_AT_ONCE = 100

#: How long a rescue system has to switch itself off. Many do not know how, and Ganeti would give
#: them two minutes.
RESCUE_GRACE_SECONDS = 10


class ServerChanges(ServerDetails):
    """The flows that change what a cluster has; each writes one operation."""

    def __init__(
        self,
        database: Any,
        images_flow: Images,
        ganeti: GanetiSection,
        deadlines: OperationsSection,
        source: random.Random,
    ) -> None:
        super().__init__(database)
        self._images_flow = images_flow
        self._ganeti = ganeti
        self._deadlines = deadlines
        self._source = source

    # Power

    async def start(self, who: Who, ref: str, request_id: str) -> None:
        """Wish a stopped server running."""
        await self._change(who, ref, request_id, "start", "start")

    async def stop(
        self, who: Who, ref: str, request_id: str, timeout_seconds: int | None = None
    ) -> None:
        """Wish a running server stopped.

        :param timeout_seconds: how long the guest has before its power is cut; None: as long as
            its cluster gives it.
        """
        arguments = None if timeout_seconds is None else {"timeout_seconds": timeout_seconds}
        await self._change(who, ref, request_id, "stop", "stop", arguments)

    async def reboot(self, who: Who, ref: str, hard: bool, request_id: str) -> None:
        """Wish a server booted again; a hard reboot does not wait for the guest."""
        rule = "reboot_hard" if hard else "reboot_soft"
        await self._change(
            who, ref, request_id, "reboot", rule, {"type": "HARD" if hard else "SOFT"}
        )

    async def _change(
        self,
        who: Who,
        ref: str,
        request_id: str,
        kind: str,
        rule: str,
        arguments: dict[str, Any] | None = None,
    ) -> None:
        async def work(tx: Any) -> None:
            server, holdings = await self._lock_to_change(tx, who, ref, kind, rule)
            growth: dict[str, int] = {}
            if kind in ("start", "reboot"):
                growth = _start_growth(server)
            await self._open(tx, who, server, holdings, request_id, kind, growth, arguments)

        await self.turns.run(work, f"server.{kind}", who.turn)

    # Size

    async def resize(self, who: Who, ref: str, flavor_ref: str, request_id: str) -> None:
        """Wish a server of another size; it waits to be confirmed or reverted then.

        :raise BadRequest: for a flavor that is not there, the same one, or one with a smaller
            disk or with disks of another kind.
        :raise OverQuota: when the project may not have that much more.
        :raise NoCapacity: when the server's cluster has no room for it.
        """

        async def work(tx: Any) -> None:
            server, holdings = await self._lock_to_change(tx, who, ref, "resize", "resize")
            flavor = await flavors.usable(tx, who, flavor_ref)
            if flavor is None:
                raise BadRequest(f"Flavor {flavor_ref[:255]} could not be found.")
            before = await procedures.sizes(tx, server.id)
            if flavor.id == before.flavor_id:
                raise BadRequest("When resizing, instances must change flavor!")
            if flavor.volume_type_id != before.volume_type_id:
                raise BadRequest(f"Flavor {flavor.name} has disks of another kind.")
            disk_gib = await procedures.root_disk_gib(tx, server.id)
            # A volume is as large as its owner makes it, whatever the flavor.
            has_disk = before.disk_template != "diskless" and not before.boots_from_volume
            if has_disk and flavor.disk_gib < disk_gib:
                raise BadRequest(
                    f"Flavor {flavor.name} has {flavor.disk_gib} GiB of disk, the server"
                    f" {disk_gib}: a disk can only grow."
                )
            await self._refuse_image(tx, server, flavor)
            grows = has_disk and flavor.disk_gib > disk_gib
            arguments = {
                "flavor_id": flavor.id,
                "vcpus": flavor.vcpus,
                "memory_mib": flavor.memory_mib,
                "grow_gib": flavor.disk_gib if grows else 0,
                "old_disk_gib": disk_gib,
            }
            await self._open_resize(
                tx, who, server, holdings, request_id, before.disk_template, arguments
            )

        await self.turns.run(work, "server.resize", who.turn)

    async def revert_resize(self, who: Who, ref: str, request_id: str) -> None:
        """Wish a resized server of its old size; a disk that has grown stays as it is.

        :raise OverQuota: when the old size was larger and the project has no room for it now.
        """

        async def work(tx: Any) -> None:
            server, holdings = await self._lock_to_change(tx, who, ref, "revert_resize", "revert")
            before = await procedures.sizes(tx, server.id)
            if before.old_flavor_id is None:
                raise Conflict(f"Instance {ref} has no size to go back to.", "state")
            arguments = {
                "flavor_id": before.old_flavor_id,
                "vcpus": before.old_vcpus,
                "memory_mib": before.old_memory_mib,
                "grow_gib": 0,
                "old_disk_gib": 0,
                "revert": True,
            }
            await self._open_resize(
                tx, who, server, holdings, request_id, before.disk_template, arguments
            )

        await self.turns.run(work, "server.revert_resize", who.turn)

    async def confirm_resize(self, who: Who, ref: str) -> None:
        """Let a resized server keep its new size."""

        async def work(tx: Any) -> None:
            server, _ = await self._lock_to_change(tx, who, ref, "confirm_resize", "confirm")
            await procedures.confirm(tx, server)
            await outbox.tell_servers(tx, (server.id,))

        await self.turns.run(work, "server.confirm_resize", who.turn)

    async def confirm_overdue(self, seconds: float) -> int:
        """Confirm the resizes that nobody has said a word about for so long; return how many."""

        async def work(tx: Any, row: Any) -> bool:
            await quotas.lock(tx, row.project_id)
            server = await servers.lock(tx, row.id)
            if server.deleted or server.state != RESIZED:
                return False
            if await operations.open_of_server(tx, server.id):
                return False
            await procedures.confirm(tx, server)
            await outbox.tell_servers(tx, (server.id,))
            return True

        done = 0
        for row in await procedures.resized_since(self._database, seconds, _AT_ONCE):
            done += await self._database.transaction(
                lambda tx, row=row: work(tx, row), "server.confirm_resize"
            )
        return done

    async def _refuse_image(self, tx: Any, server: Any, flavor: Any) -> None:
        least: int | None = await tx.value(
            "select i.min_memory_mib from server s join image i on i.id = s.image_id"
            " where s.id = %s",
            (server.id,),
        )
        if flavor.memory_mib < (least or 0):
            raise BadRequest(
                f"Flavor {flavor.name} has {flavor.memory_mib} MiB of memory; the image needs"
                f" {least}."
            )

    async def _open_resize(
        self,
        tx: Any,
        who: Who,
        server: Any,
        holdings: Mapping[str, quota.Holding],
        request_id: str,
        disk_template: str,
        arguments: dict[str, Any],
    ) -> None:
        running = server.charge == quota.ON
        disk_growth = max(arguments["grow_gib"] - arguments["old_disk_gib"], 0)
        growth = quota.difference(
            quota.server_amounts(server.charge, server.vcpus, server.memory_mib, 0),
            quota.server_amounts(
                server.charge, arguments["vcpus"], arguments["memory_mib"], disk_growth
            ),
        )
        memory_growth = max(arguments["memory_mib"] - server.memory_mib, 0)
        room = await procedures.room(tx, server.cluster_id)
        if room is not None and 0 < memory_growth >= room.memory_free_mib:
            raise NoCapacity(
                placement.NO_MEMORY,
                inside=f"Cluster {room.name} has {room.memory_free_mib} MiB of memory free,"
                f" {memory_growth} more are needed.",
            )
        copies = 2 if disk_template == "drbd" else 1
        if room is not None and 0 < disk_growth * copies * 1024 >= room.disk_free_mib:
            raise NoCapacity(
                placement.NO_DISK,
                inside=f"Cluster {room.name} has {room.disk_free_mib} MiB of disk free,"
                f" {disk_growth * copies * 1024} more are needed.",
            )
        quotas.refuse_shortage(holdings, growth)
        await project_limits.refuse_user_shortage(
            tx,
            server.project_id,
            server.user_id,
            instances=0,
            cores=max(arguments["vcpus"] - server.vcpus, 0),
            ram_mib=memory_growth,
        )
        whole = {
            **arguments,
            "old_vcpus": server.vcpus,
            "old_memory_mib": server.memory_mib,
            "disk_template": disk_template,
            "running": running,
            "start": running,
        }
        await self._open(tx, who, server, holdings, request_id, "resize", growth, whole)
        await procedures.count_on_cluster(
            tx, server.cluster_id, memory_growth, disk_growth, disk_template
        )

    # The rescue image

    async def rescue(
        self,
        who: Who,
        ref: str,
        image_ref: str | None,
        admin_password: str | None,
        request_id: str,
    ) -> str:
        """Wish a server booted from the rescue image, with its own disks beside it.

        :param image_ref: an ISO image of the operator's; None: the one of the configuration.
        :param admin_password: None: one is made.
        :return: the password; the rescue image decides whether it has an effect.
        :raise NotSupported: when there is no rescue image.
        """

        async def work(tx: Any) -> None:
            server, holdings = await self._lock_to_change(tx, who, ref, "rescue", "rescue")
            image_id, location = await self._rescue_image(tx, who, image_ref)
            arguments = {
                "image_id": image_id,
                "location": location,
                "running": server.charge == quota.ON,
                "start": True,
            }
            growth = _start_growth(server)
            await self._open(tx, who, server, holdings, request_id, "rescue", growth, arguments)

        await self.turns.run(work, "server.rescue", who.turn)
        return admin_password or password.make(self._source)

    async def unrescue(self, who: Who, ref: str, request_id: str) -> None:
        """Wish a rescued server booted from its own disk again."""

        async def work(tx: Any) -> None:
            server, holdings = await self._lock_to_change(tx, who, ref, "unrescue", "unrescue")
            location: str | None = await tx.value(
                "select i.location from server s join image i on i.id = s.rescue_image_id"
                " where s.id = %s",
                (server.id,),
            )
            arguments = {
                "location": location or self._ganeti.rescue_image,
                "running": server.charge == quota.ON,
                "start": True,
                "timeout_seconds": RESCUE_GRACE_SECONDS,
            }
            growth = _start_growth(server)
            await self._open(tx, who, server, holdings, request_id, "unrescue", growth, arguments)

        await self.turns.run(work, "server.unrescue", who.turn)

    async def _rescue_image(
        self, tx: Any, who: Who, image_ref: str | None
    ) -> tuple[int | None, str]:
        if image_ref is None:
            if not self._ganeti.rescue_image:
                raise NotSupported("This cloud has no rescue image: name one of your choice.")
            return None, self._ganeti.rescue_image
        try:
            image = await self._images_flow.usable(tx, who, image_ref)
        except NotFound:
            raise BadRequest(f"Can not find requested image {image_ref[:255]}.") from None
        # Its location is read by the nodes themselves, so it must be the operator's word.
        location = image.location or ""
        theirs = image.project_id is None and image.disk_format == "iso"
        if not theirs or not location.startswith(("/", "http://", "https://")):
            raise BadRequest(
                f"Image {image.uuid} cannot be used for rescue: it is no rescue image."
            )
        return image.id, location

    # What all of them do

    async def _lock_to_change(
        self, tx: Any, who: Who, ref: str, word: str, rule: str
    ) -> tuple[Any, dict[str, quota.Holding]]:
        """Lock a server that may be changed in this way now; return its row and the holdings.

        :param word: what is asked for, in Compute's words.
        :param rule: a key of :data:`ALLOWED`.
        :raise Conflict: when it is locked, at something else, or in another state.
        """
        server, holdings = await self._lock_idle(tx, who, ref, word)
        lost = server.state == ERROR and server.charge == quota.NONE
        if server.state not in ALLOWED[rule] or lost:
            raise Conflict(
                f"Cannot '{word}' instance {ref} while it is in vm_state {server.state}", "state"
            )
        return server, holdings

    async def _open(
        self,
        tx: Any,
        who: Who,
        server: Any,
        holdings: Mapping[str, quota.Holding],
        request_id: str,
        kind: str,
        growth: Mapping[str, int],
        arguments: dict[str, Any] | None,
    ) -> None:
        """Open the operation and reserve what it will add.

        :raise OverQuota: when the project may not have that much more.
        """
        quotas.refuse_shortage(holdings, growth)
        operation_id = await operations.open_operation(
            tx,
            kind=kind,
            cluster_id=server.cluster_id,
            deadline_seconds=self._deadlines.deadline_seconds(kind),
            server_id=server.id,
            project_id=server.project_id,
            user_id=who.user_id,
            request_id=request_id,
            arguments=arguments,
            reason="Waits to be sent to its cluster.",
        )
        await quotas.reserve(tx, server.project_id, operation_id, growth)
        await tx.run("update server set updated_at = now() where id = %s", (server.id,))


def _start_growth(server: Any) -> dict[str, int]:
    """What a stopped server takes beyond what it has when it runs."""
    if server.charge != quota.OFF:
        return {}
    return quota.difference(
        quota.server_amounts(quota.OFF, server.vcpus, server.memory_mib, 0),
        quota.server_amounts(quota.ON, server.vcpus, server.memory_mib, 0),
    )
