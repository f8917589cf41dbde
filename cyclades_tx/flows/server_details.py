"""What only the database knows of a server: names, metadata, tags, locks; no cluster is told."""

from __future__ import annotations

from typing import Any

from cyclades_tx.errors import BadRequest, Conflict, Forbidden, NotFound
from cyclades_tx.flows.server_turns import ServerTurns, UnderWay
from cyclades_tx.flows.suspension import suspend
from cyclades_tx.model import quota
from cyclades_tx.model.moves import ACTIVE, ERROR, STOPPED, UNSEEN, Rest
from cyclades_tx.model.server import MAX_METADATA, MAX_TAGS
from cyclades_tx.model.who import Who
from cyclades_tx.store import operations, outbox, quotas, servers


class ServerDetails:
    """The flows of a server's details; every change locks holdings, then the server."""

    def __init__(self, database: Any) -> None:
        self._database = database
        #: For what opens an operation on a server.
        self.turns = ServerTurns(database)

    async def update(self, who: Who, ref: str, changes: dict[str, Any]) -> None:
        """Change what only the database knows: name, description, access addresses, host name."""
        columns: dict[str, Any] = {
            key: changes[key]
            for key in ("name", "description", "access_ipv4", "access_ipv6", "hostname")
            if key in changes
        }

        async def work(tx: Any) -> None:
            server, _ = await self._lock(tx, who, ref)
            if columns:
                assignments = ", ".join(f"{column} = %({column})s" for column in columns)
                await tx.run(
                    f"update server set {assignments}, updated_at = now() where id = %(id)s",
                    {**columns, "id": server.id},
                )
                await outbox.tell_servers(tx, (server.id,), always=True)

        await self._database.transaction(work, "server.update", turn=who.turn)

    async def set_metadata(
        self, who: Who, ref: str, items: dict[str, str], replace: bool
    ) -> dict[str, str]:
        """Add metadata items, or put them in place of all there are; return what is there then."""

        async def work(tx: Any) -> dict[str, str]:
            server, _ = await self._lock(tx, who, ref)
            if replace:
                await tx.run("delete from server_metadata where server_id = %s", (server.id,))
            await servers.set_metadata(tx, server.id, items)
            rows = await tx.all(
                "select key, value from server_metadata where server_id = %s order by key",
                (server.id,),
            )
            if len(rows) > MAX_METADATA:
                raise Forbidden(f"A server may have at most {MAX_METADATA} metadata items.")
            await tx.run("update server set updated_at = now() where id = %s", (server.id,))
            return {row.key: row.value for row in rows}

        found: dict[str, str] = await self._database.transaction(
            work, "server.metadata", turn=who.turn
        )
        return found

    async def delete_metadata(self, who: Who, ref: str, key: str) -> None:
        """Remove a metadata item.

        :raise NotFound: when there is none with that key.
        """

        async def work(tx: Any) -> None:
            server, _ = await self._lock(tx, who, ref)
            gone = await tx.run(
                "delete from server_metadata where server_id = %s and key = %s", (server.id, key)
            )
            if not gone:
                raise NotFound("Metadata item was not found", "metadata")
            await tx.run("update server set updated_at = now() where id = %s", (server.id,))

        await self._database.transaction(work, "server.metadata", turn=who.turn)

    async def set_tags(self, who: Who, ref: str, tags: tuple[str, ...]) -> None:
        """Put these tags in place of all there are."""
        if len(tags) > MAX_TAGS:
            raise BadRequest(f"A server may have at most {MAX_TAGS} tags.")

        async def work(tx: Any) -> None:
            server, _ = await self._lock(tx, who, ref)
            await tx.run("delete from server_tag where server_id = %s", (server.id,))
            await servers.add_tags(tx, server.id, tags)
            await tx.run("update server set updated_at = now() where id = %s", (server.id,))

        await self._database.transaction(work, "server.tags", turn=who.turn)

    async def add_tag(self, who: Who, ref: str, tag: str) -> bool:
        """Add one tag; False when it was there already."""

        async def work(tx: Any) -> bool:
            server, _ = await self._lock(tx, who, ref)
            before = await servers.tags_of(tx, server.id)
            if tag in before:
                return False
            if len(before) >= MAX_TAGS:
                raise BadRequest(f"A server may have at most {MAX_TAGS} tags.")
            await servers.add_tags(tx, server.id, (tag,))
            await tx.run("update server set updated_at = now() where id = %s", (server.id,))
            return True

        return bool(await self._database.transaction(work, "server.tags", turn=who.turn))

    async def delete_tag(self, who: Who, ref: str, tag: str) -> None:
        """Remove one tag.

        :raise NotFound: when the server has no such tag.
        """

        async def work(tx: Any) -> None:
            server, _ = await self._lock(tx, who, ref)
            gone = await tx.run(
                "delete from server_tag where server_id = %s and tag = %s", (server.id, tag)
            )
            if not gone:
                raise NotFound(f"Server {ref} has no tag '{tag}'", "tag")
            await tx.run("update server set updated_at = now() where id = %s", (server.id,))

        await self._database.transaction(work, "server.tags", turn=who.turn)

    async def lock(self, who: Who, ref: str, reason: str | None) -> None:
        """Keep the owner from changing a server by accident.

        What an administrator of another project has locked stays that administrators' own.
        """

        async def work(tx: Any) -> None:
            server, _ = await self._lock(tx, who, ref)
            theirs = who.project_id == server.project_id
            if theirs and server.locked_by_admin:
                return
            await tx.run(
                "update server set locked = true, locked_by_admin = %s, locked_reason = %s,"
                " updated_at = now() where id = %s",
                (not theirs, reason, server.id),
            )
            await outbox.tell_servers(tx, (server.id,), always=True)

        await self._database.transaction(work, "server.lock", turn=who.turn)

    async def unlock(self, who: Who, ref: str) -> None:
        """Undo :meth:`lock`.

        :raise Forbidden: when an administrator has locked it, and the caller is none.
        """

        async def work(tx: Any) -> None:
            server, _ = await self._lock(tx, who, ref)
            if server.locked_by_admin and not who.admin:
                raise Forbidden("An administrator has locked this server.")
            await tx.run(
                "update server set locked = false, locked_by_admin = false, locked_reason = null,"
                " updated_at = now() where id = %s",
                (server.id,),
            )
            await outbox.tell_servers(tx, (server.id,), always=True)

        await self._database.transaction(work, "server.lock", turn=who.turn)

    async def check_action(
        self, who: Who, ref: str, word: str, states: frozenset[str] | None
    ) -> None:
        """See whether something could be asked of a server at all, apart from who can do it.

        :param states: where it makes sense; None: anywhere.
        :raise Conflict: when it is locked, or elsewhere.
        """

        async def work(tx: Any) -> None:
            server, _ = await self._lock(tx, who, ref)
            self._refuse_locked(who, server)
            if states is not None and server.state not in states:
                raise Conflict(
                    f"Cannot '{word}' instance {ref} while it is in vm_state {server.state}",
                    "state",
                )

        await self._database.transaction(work, "server.check", turn=who.turn)

    async def suspend(self, who: Who, ref: str) -> None:
        """Keep a server's owner from doing anything with it; the machine keeps running."""
        await self._suspend(who, ref, True, "suspend")

    async def resume(self, who: Who, ref: str) -> None:
        """Undo :meth:`suspend`."""
        await self._suspend(who, ref, False, "resume")

    async def _suspend(self, who: Who, ref: str, suspended: bool, word: str) -> None:
        found = await servers.find(self._database, ref, who)
        if found is None:
            raise NotFound(f"Instance {ref} could not be found.", "server")
        if not await suspend(self._database, found.id, suspended):
            state = "suspended" if suspended else "active"
            raise Conflict(
                f"Cannot '{word}' instance {ref} while it is in vm_state {state}", "state"
            )

    async def reset_state(self, who: Who, ref: str) -> None:
        """Believe in a server again that is in error, and has its machine.

        :raise Conflict: when there is no machine, or something is under way.
        """

        async def work(tx: Any) -> None:
            server, _ = await self._lock(tx, who, ref)
            if await operations.open_of_server(tx, server.id) or (
                server.state == ERROR and server.charge == quota.NONE
            ):
                raise Conflict(f"The state of instance {ref} cannot be reset now.", "state")
            if server.state == ERROR:
                after = Rest(STOPPED if server.charge == quota.OFF else ACTIVE, server.charge)
                before = Rest(server.state, server.charge)
                await servers.move(tx, server, before, after, UNSEEN, None)

        await self._database.transaction(work, "server.reset_state", turn=who.turn)

    async def _lock(self, tx: Any, who: Who, ref: str) -> tuple[Any, dict[str, quota.Holding]]:
        """Lock the holdings of a server's project, then its row; return the row and them.

        :raise NotFound: when there is none, or the caller may not see it.
        """
        found = await servers.find(tx, ref, who)
        if found is None:
            raise _no_server(ref)
        holdings = await quotas.lock(tx, found.project_id)
        server = await servers.lock(tx, found.id)
        if server.deleted or (server.project_id != found.project_id and not who.admin):
            raise _no_server(ref)
        if server.project_id != found.project_id:
            # The holdings that are locked are not those of its project any more.
            raise Conflict(f"Instance {ref} was given to another project; try again.", "busy")
        if server.suspended and not who.admin:
            raise Forbidden("An administrator has suspended this server.")
        return server, holdings

    async def _lock_idle(
        self, tx: Any, who: Who, ref: str, word: str
    ) -> tuple[Any, dict[str, quota.Holding]]:
        """The same for a server that nothing keeps from a change that needs its cluster.

        :param word: what is asked for, in Compute's words.
        :raise UnderWay: when it is at something else.
        :raise Conflict: when it is locked.
        """
        server, holdings = await self._lock(tx, who, ref)
        self._refuse_locked(who, server)
        if opened := await operations.open_of_server(tx, server.id):
            raise UnderWay(
                f"Cannot '{word}' instance {ref} while another operation on it is under way",
                server.id,
                opened,
            )
        return server, holdings

    @staticmethod
    def _refuse_locked(who: Who, server: Any) -> None:
        if server.locked and not who.admin:
            raise Conflict(f"Instance {server.uuid} is locked", "locked")


def _no_server(ref: str) -> NotFound:
    return NotFound(f"Instance {ref} could not be found.", "server")
