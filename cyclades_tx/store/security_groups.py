"""Security groups and their rules, and which ports are in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cyclades_tx.errors import BadRequest, Conflict, NotFound
from cyclades_tx.model.ids import parse_uuid
from cyclades_tx.model.who import Who
from cyclades_tx.store import firewalls, outbox
from cyclades_tx.store.networks import create_default_group
from cyclades_tx.store.ports import FLOATING_OWNER

DEFAULT = "default"


@dataclass(frozen=True)
class NewRule:
    """A rule as it is written.

    :ivar protocol: a word or a number as text; None: any.
    """

    direction: str
    ethertype: str
    protocol: str | None = None
    port_range_min: int | None = None
    port_range_max: int | None = None
    remote_prefix: str | None = None
    remote_group_id: int | None = None
    description: str = ""


async def default_of(tx: Any, project_id: str) -> int:
    """The id of a project's default group, which is made if it is missing; it stays meanwhile."""
    while True:
        await create_default_group(tx, project_id)
        found: int | None = await tx.value(
            "select id from security_group where project_id = %s and name = %s for key share",
            (project_id, DEFAULT),
        )
        if found is not None:
            return found


async def ids_of(tx: Any, project_id: str, refs: Sequence[str] | None) -> list[int]:
    """The groups of a project that are named by UUID or name; None: the default one.

    They stay until the transaction ends: whoever deletes one waits.

    :raise NotFound: when the project has none of that name.
    :raise Conflict: when it has several.
    """
    if refs is None:
        return [await default_of(tx, project_id)]
    found: list[int] = []
    for ref in dict.fromkeys(refs):
        if ref == DEFAULT:
            found.append(await default_of(tx, project_id))
            continue
        rows = await tx.all(
            "select id from security_group where project_id = %s and (uuid = %s or name = %s)"
            " order by id limit 2 for key share",
            (project_id, parse_uuid(ref), ref),
        )
        if not rows:
            raise NotFound(f"Security group {ref} does not exist.", "security_group")
        if len(rows) > 1:
            raise Conflict(f"Multiple security groups are named {ref}: use an id.", "NoUniqueMatch")
        found.append(rows[0].id)
    return found


async def put_on_port(tx: Any, port_id: int, group_ids: Sequence[int]) -> None:
    """Have a port in exactly these groups."""
    await tx.run(
        "delete from port_security_group where port_id = %s"
        " and security_group_id <> all(%s::bigint[])",
        (port_id, list(group_ids)),
    )
    await tx.run(
        "insert into port_security_group (port_id, security_group_id)"
        " select %s, unnest(%s::bigint[]) on conflict do nothing",
        (port_id, list(group_ids)),
    )


async def add_to_server(tx: Any, server_id: int, group_id: int) -> None:
    """Put every port of a locked server, but those of floating IPs, into a group."""
    rows = await tx.all(
        "insert into port_security_group (port_id, security_group_id)"
        " select id, %s from port where server_id = %s and device_owner <> %s order by id"
        " on conflict do nothing returning port_id",
        (group_id, server_id, FLOATING_OWNER),
    )
    await _tell_server(tx, server_id, [row.port_id for row in rows])


async def remove_from_server(tx: Any, server_id: int, group_id: int) -> bool:
    """Take every port of a locked server out of a group; whether one was in it."""
    rows = await tx.all(
        "delete from port_security_group m using port p where p.id = m.port_id"
        " and p.server_id = %s and m.security_group_id = %s returning m.port_id",
        (server_id, group_id),
    )
    await _tell_server(tx, server_id, [row.port_id for row in rows])
    return bool(rows)


async def _tell_server(tx: Any, server_id: int, port_ids: Sequence[int]) -> None:
    """Tell of a server whose ports are in other groups now."""
    await tx.run(
        "update port set revision = revision + 1, updated_at = now() where id = any(%s::bigint[])",
        (list(port_ids),),
    )
    await outbox.tell_ports(tx, "port.changed", sorted(port_ids))
    await firewalls.wish_of_server(tx, server_id)
    await tx.run("update server set updated_at = now() where id = %s", (server_id,))
    await outbox.tell_servers(tx, (server_id,), always=True)


async def lock(tx: Any, who: Who, ref: str) -> Any:
    """Lock a group that the caller sees.

    :param ref: what stood in the URL: anything.
    :raise NotFound: when there is none.
    """
    uuid = parse_uuid(ref)
    row = uuid and await tx.first(
        "select id, uuid::text, project_id, name, revision from security_group where uuid = %s"
        " and (%s or project_id = %s) for update",
        (uuid, who.admin, who.project_id),
    )
    if not row:
        raise NotFound(f"Security group {ref} does not exist.", "security_group")
    return row


async def insert(
    tx: Any, project_id: str, name: str, description: str, stateful: bool
) -> tuple[int, str]:
    """Add a group with the two rules that let everything out; return its id and UUID."""
    row = await tx.first(
        "insert into security_group (project_id, name, description, stateful)"
        " values (%s, %s, %s, %s) on conflict do nothing returning id, uuid::text",
        (project_id, name, description, stateful),
    )
    if row is None:
        raise Conflict(
            "Default security group already exists.", "SecurityGroupDefaultAlreadyExists"
        )
    for ethertype in ("IPv4", "IPv6"):
        await _insert_rule(tx, row.id, NewRule("egress", ethertype))
    await tell(tx, "security_group.created", row.id)
    return row.id, row.uuid


async def insert_rule(tx: Any, group_id: int, rule: NewRule) -> str:
    """Add a rule to a locked group; return its UUID.

    :raise Conflict: when the group has the same one.
    """
    uuid = await _insert_rule(tx, group_id, rule)
    await touch(tx, group_id)
    await firewalls.wish_of_group(tx, group_id)
    return uuid


async def _insert_rule(tx: Any, group_id: int, rule: NewRule) -> str:
    args = (
        group_id,
        rule.direction,
        rule.ethertype,
        rule.protocol,
        rule.port_range_min,
        rule.port_range_max,
        rule.remote_prefix,
        rule.remote_group_id,
    )
    uuid: str | None = await tx.value(
        "insert into security_group_rule (security_group_id, direction, ethertype, protocol,"
        " port_range_min, port_range_max, remote_prefix, remote_group_id, description)"
        " values (%s, %s, %s, %s, %s, %s, %s::cidr, %s, %s) on conflict do nothing"
        " returning uuid::text",
        (*args, rule.description),
    )
    if uuid is None:
        raise Conflict("Security group rule already exists.", "SecurityGroupRuleExists")
    return uuid


async def remote(tx: Any, who: Who, ref: str) -> int:
    """The id of a group that a rule names as its other side.

    :raise NotFound: when the caller sees none.
    """
    uuid = parse_uuid(ref)
    found: int | None = await tx.value(
        "select id from security_group where uuid = %s and (%s or project_id = %s) for key share",
        (uuid, who.admin, who.project_id),
    )
    if uuid is None or found is None:
        raise NotFound(f"Security group {ref} does not exist.", "security_group")
    return found


async def group_of_rule(tx: Any, who: Who, ref: str) -> Any:
    """The rule's id and its group's UUID.

    :raise NotFound: when the caller sees no such rule.
    """
    uuid = parse_uuid(ref)
    row = uuid and await tx.first(
        "select r.id, g.uuid::text as group_uuid from security_group_rule r"
        " join security_group g on g.id = r.security_group_id where r.uuid = %s"
        " and (%s or g.project_id = %s)",
        (uuid, who.admin, who.project_id),
    )
    if not row:
        raise NotFound(f"Security group rule {ref} does not exist.", "security_group_rule")
    return row


async def delete_rule(tx: Any, rule_id: int, group_id: int) -> bool:
    """Take a rule out of a locked group; False when it was gone."""
    gone = await tx.run("delete from security_group_rule where id = %s", (rule_id,))
    if gone:
        await touch(tx, group_id)
        await firewalls.wish_of_group(tx, group_id)
    return bool(gone)


async def delete(tx: Any, group: Any) -> None:
    """Delete a locked group.

    :raise Conflict: when a port is in it, or another group's rule names it.
    """
    used = await tx.value(
        "select exists (select from port_security_group where security_group_id = %(id)s)"
        " or exists (select from security_group_rule where remote_group_id = %(id)s"
        " and security_group_id <> %(id)s)",
        {"id": group.id},
    )
    if used:
        raise Conflict(f"Security Group {group.uuid} in use.", "SecurityGroupInUse")
    await tell(tx, "security_group.deleted", group.id)
    await tx.run("delete from security_group where id = %s", (group.id,))


async def change(tx: Any, group_id: int, changes: dict[str, Any]) -> None:
    """Change name, description or ``stateful`` of a locked group."""
    if changes.keys() - {"name", "description", "stateful"}:
        raise BadRequest("Only name, description and stateful can be changed.")
    if changes:
        assignments = ", ".join(f"{column} = %({column})s" for column in changes)
        await tx.run(
            f"update security_group set {assignments} where id = %(id)s",
            {**changes, "id": group_id},
        )
    await touch(tx, group_id)


async def touch(tx: Any, group_id: int) -> None:
    """Count one more revision of a group, and tell of it."""
    await tx.run(
        "update security_group set revision = revision + 1, updated_at = now() where id = %s",
        (group_id,),
    )
    await tell(tx, "security_group.changed", group_id)


async def tell(tx: Any, kind: str, group_id: int) -> None:
    """Tell of a group as it is now."""
    row = await tx.first(
        "select uuid::text, project_id, name from security_group where id = %s", (group_id,)
    )
    body = {"security_group": {"id": row.uuid, "name": row.name}}
    await outbox.put(tx, kind, row.uuid, row.project_id, body)
