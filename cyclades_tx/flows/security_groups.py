"""What a person can ask for about security groups and their rules.

They are kept and shown as Network's clients expect; ``docs/firewalls.md`` says what a cluster
enforces of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cyclades_tx.errors import BadRequest, Conflict, NotFound
from cyclades_tx.flows.charged_project import charged_project
from cyclades_tx.model.firewall_rule import Checked, RuleWords, check
from cyclades_tx.model.who import Who
from cyclades_tx.store import network_changes, security_groups, servers
from cyclades_tx.store.security_groups import DEFAULT, NewRule


@dataclass(frozen=True)
class WantedGroup:
    """A group that somebody wants."""

    name: str
    description: str = ""
    stateful: bool = True
    project_id: str | None = None


@dataclass(frozen=True)
class WantedRule:
    """A rule that somebody wants, in a group.

    :ivar remote_group_ref: a group whose ports are the other side.
    """

    group_ref: str
    words: RuleWords
    remote_group_ref: str | None = None
    description: str = ""


class SecurityGroups:
    """The flows of security groups."""

    def __init__(self, database: Any) -> None:
        self._database = database

    async def create(self, who: Who, wanted: Sequence[WantedGroup]) -> list[str]:
        """Make groups, all or none; return their UUIDs.

        :raise Conflict: for a second group with the name ``default``.
        """

        async def work(tx: Any) -> list[str]:
            made: list[str] = []
            for each in wanted:
                project_id = await charged_project(tx, who, each.project_id)
                await security_groups.default_of(tx, project_id)
                _, uuid = await security_groups.insert(
                    tx, project_id, each.name, each.description, each.stateful
                )
                made.append(uuid)
            return made

        found: list[str] = await self._database.transaction(work, "security_group.create")
        return found

    async def update(
        self, who: Who, ref: str, changes: dict[str, Any], revision: int | None = None
    ) -> str:
        """Change name, description or ``stateful`` of a group; return its UUID."""

        async def work(tx: Any) -> str:
            group = await security_groups.lock(tx, who, ref)
            network_changes.check_revision(group, revision)
            if changes.get("name", group.name) != group.name:
                if group.name == DEFAULT:
                    raise Conflict(
                        "Updating default security group not allowed.",
                        "SecurityGroupCannotUpdateDefault",
                    )
                if changes["name"] == DEFAULT:
                    raise Conflict(
                        "Default security group already exists.",
                        "SecurityGroupDefaultAlreadyExists",
                    )
            await security_groups.change(tx, group.id, changes)
            return str(group.uuid)

        found: str = await self._database.transaction(work, "security_group.update")
        return found

    async def delete(self, who: Who, ref: str, revision: int | None = None) -> None:
        """Delete a group that nothing uses, and not the default one."""

        async def work(tx: Any) -> None:
            group = await security_groups.lock(tx, who, ref)
            network_changes.check_revision(group, revision)
            if group.name == DEFAULT and not who.admin:
                raise Conflict(
                    "Insufficient rights for removing default security group.",
                    "SecurityGroupCannotRemoveDefault",
                )
            await security_groups.delete(tx, group)

        await self._database.transaction(work, "security_group.delete")

    async def add_to_server(self, who: Who, server_ref: str, group_ref: str) -> None:
        """Put every interface of a server into a group."""

        async def work(tx: Any) -> None:
            server, groups = await self._of_server(tx, who, server_ref, group_ref)
            await security_groups.add_to_server(tx, server.id, groups[0])

        await self._database.transaction(work, "security_group.ports")

    async def remove_from_server(self, who: Who, server_ref: str, group_ref: str) -> None:
        """Take every interface of a server out of a group.

        :raise NotFound: when none is in it.
        """

        async def work(tx: Any) -> None:
            server, groups = await self._of_server(tx, who, server_ref, group_ref)
            if not await security_groups.remove_from_server(tx, server.id, groups[0]):
                raise NotFound(
                    f"Security group {group_ref} not associated with the instance {server_ref}.",
                    "security_group",
                )

        await self._database.transaction(work, "security_group.ports")

    async def _of_server(
        self, tx: Any, who: Who, server_ref: str, group_ref: str
    ) -> tuple[Any, list[int]]:
        found = await servers.find(tx, server_ref, who)
        if found is None:
            raise NotFound(f"Instance {server_ref} could not be found.", "server")
        server = await servers.lock(tx, found.id)
        return server, await security_groups.ids_of(tx, server.project_id, (group_ref,))

    async def create_rules(self, who: Who, wanted: Sequence[WantedRule]) -> list[str]:
        """Add rules to groups, all or none; return their UUIDs.

        :raise BadRequest: for a rule that means nothing.
        :raise Conflict: for one that its group has already.
        """
        checked = [check(each.words) for each in wanted]

        async def work(tx: Any) -> list[str]:
            return [
                await self._add(tx, who, each, rule)
                for each, rule in zip(wanted, checked, strict=True)
            ]

        found: list[str] = await self._database.transaction(work, "security_group.rules")
        return found

    async def _add(self, tx: Any, who: Who, wanted: WantedRule, rule: Checked) -> str:
        if wanted.remote_group_ref is not None and rule.remote_prefix is not None:
            raise BadRequest(
                "Only remote_ip_prefix or remote_group_id may be provided.",
                neutron_type="SecurityGroupMultipleRemoteEntites",
            )
        group = await security_groups.lock(tx, who, wanted.group_ref)
        remote_id = None
        if wanted.remote_group_ref is not None:
            remote_id = await security_groups.remote(tx, who, wanted.remote_group_ref)
        return await security_groups.insert_rule(
            tx,
            group.id,
            NewRule(
                rule.direction,
                rule.ethertype,
                rule.protocol,
                rule.port_range_min,
                rule.port_range_max,
                rule.remote_prefix,
                remote_id,
                wanted.description,
            ),
        )

    async def find_rule(self, who: Who, ref: str) -> None:
        """See whether the caller sees a rule.

        :raise NotFound: when not.
        """
        await security_groups.group_of_rule(self._database, who, ref)

    async def delete_rule(self, who: Who, ref: str) -> None:
        """Take a rule out of its group."""

        async def work(tx: Any) -> None:
            rule = await security_groups.group_of_rule(tx, who, ref)
            group = await security_groups.lock(tx, who, rule.group_uuid)
            if not await security_groups.delete_rule(tx, rule.id, group.id):
                raise NotFound(f"Security group rule {ref} does not exist.", "security_group_rule")

        await self._database.transaction(work, "security_group.rules")
