"""What may be asked of a list of servers: filters, order, and where to go on."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cyclades_tx.api.call import Call
from cyclades_tx.api.compute import documents
from cyclades_tx.errors import BadRequest, Forbidden
from cyclades_tx.store.server_status import TASK

TRUE = frozenset({"1", "t", "true", "on", "y", "yes"})
FALSE = frozenset({"0", "f", "false", "off", "n", "no"})

#: Characters that mean something in a regular expression.
_MAGIC = re.compile(r"[\\^$.|?*+()\[\]{}]")
#: What makes matching slow, or means something else in PostgreSQL: references, counts, options.
_UNSAFE = re.compile(r"\\[0-9mMyYAZ]|\(\?|\{|^\*")
_LONGEST_PATTERN = 255

#: The SQL of the keys that a list can be ordered by; ``{t}`` is the row.
SORT_KEYS = {
    "access_ip_v4": "coalesce(host({t}.access_ipv4), '') collate \"C\"",
    "access_ip_v6": "coalesce(host({t}.access_ipv6), '') collate \"C\"",
    "auto_disk_config": "{t}.disk_config",
    "availability_zone": "coalesce({t}.availability_zone, '') collate \"C\"",
    "config_drive": "{t}.config_drive",
    "created_at": "{t}.created_at",
    "display_description": "coalesce({t}.description, '') collate \"C\"",
    "display_name": '{t}.name collate "C"',
    "hostname": '{t}.hostname collate "C"',
    "image_ref": (
        "coalesce((select i.uuid::text from image i where i.id = {t}.image_id), '') collate \"C\""
    ),
    "instance_type_id": "{t}.flavor_id",
    "key_name": "coalesce({t}.key_name, '') collate \"C\"",
    "launched_at": "coalesce({t}.launched_at, '-infinity')",
    "locked": "{t}.locked",
    "power_state": f"({documents.POWER})",
    "project_id": '{t}.project_id::text collate "C"',
    "terminated_at": "coalesce({t}.terminated_at, '-infinity')",
    "updated_at": "{t}.updated_at",
    "user_id": '{t}.user_id::text collate "C"',
    "uuid": "{t}.uuid",
    "vm_state": f'({documents.VM_STATE}) collate "C"',
}
#: The time of making as the index over all projects' servers has it.
_AGE = "({t}.created_at at time zone 'UTC')"
_ADMIN_SORT_KEYS = {
    "host": "coalesce({t}.node, '') collate \"C\"",
    "node": "coalesce({t}.node, '') collate \"C\"",
}
#: Taken and without effect: they are the same for every server, or for nearly every one.
_EMPTY_SORT_KEYS = frozenset(
    {"kernel_id", "launch_index", "locked_by", "progress", "ramdisk_id", "root_device_name",
     "task_state"}
)  # fmt: skip


@dataclass
class Selection:
    """Which servers a list shows, as SQL over ``server`` and what stands beside it.

    :ivar project_id: the only project whose servers are shown, or None for all.
    :ivar joined: whether the conditions look beyond the server's own row.
    :ivar literal: what would be regular expressions if PostgreSQL could read them.
    :ivar patterns: the regular expressions that it looks for.
    """

    conditions: list[str] = field(default_factory=list)
    arguments: list[Any] = field(default_factory=list)
    project_id: str | None = None
    joined: bool = False
    literal: frozenset[str] = frozenset()
    patterns: set[str] = field(default_factory=set)

    def add(self, condition: str, *arguments: Any, joined: bool = False) -> None:
        """Narrow it."""
        self.conditions.append(condition)
        self.arguments.extend(arguments)
        self.joined = self.joined or joined


def boolean(name: str, text: str) -> bool:
    """A truth value as clients write it.

    :raise BadRequest: when it is none.
    """
    word = text.strip().lower()
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    raise BadRequest(f"Invalid value {text!r} for query parameter {name}: true or false is meant.")


def moment(name: str, text: str) -> datetime:
    """A time as ISO 8601 writes it; without a zone it is UTC.

    :raise BadRequest: when it is none.
    """
    try:
        at = datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else text.strip())
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadRequest(
            f"Invalid input for query parameters {name}. Value: {text}. It must be a time in ISO "
            "8601."
        ) from None


def matching(selection: Selection, column: str, pattern: str, wrap: str = "{}") -> None:
    """Narrow a selection by a regular expression, which may match anywhere.

    What is no safe expression stands for itself. The literal text is always looked for too,
    since people write names such as ``web+1``.

    :param wrap: SQL around the condition, for columns of further rows.
    """
    literal = f"strpos({column}, %s::text) > 0"
    arguments: list[str] = [pattern]
    condition = literal
    if _MAGIC.search(pattern) and _safe(pattern) and pattern not in selection.literal:
        condition = f"({literal} or {column} ~ %s::text)"
        arguments.append(pattern)
        selection.patterns.add(pattern)
    selection.add(wrap.format(condition), *arguments)


def _safe(pattern: str) -> bool:
    return len(pattern) <= _LONGEST_PATTERN and not _UNSAFE.search(pattern)


def is_bad_pattern(error: Exception) -> bool:
    """Whether a statement failed because PostgreSQL could not read a regular expression."""
    return getattr(error, "pgcode", None) == "2201B"


async def bad_patterns(database: Any, patterns: Collection[str]) -> frozenset[str]:
    """Those of some regular expressions that PostgreSQL cannot read."""
    found = set()
    for pattern in patterns:
        try:
            await database.value("select '' ~ %s::text", (pattern,))
        except Exception as error:
            if not is_bad_pattern(error):
                raise
            found.add(pattern)
    return frozenset(found)


def select(call: Call, literal: frozenset[str] = frozenset()) -> Selection:
    """Read the filters of a request.

    :param literal: what is not to be taken as a regular expression.
    :raise BadRequest: for a value that makes no sense.
    :raise Forbidden: for what only administrators may ask.
    """
    who = call.who
    selection = Selection(literal=literal)
    selection.add("not server.helper")
    all_projects = call.query("all_tenants")
    everywhere = all_projects is not None and (
        all_projects == "" or boolean("all_tenants", all_projects)
    )
    if everywhere and not who.admin:
        raise Forbidden(
            "Policy doesn't allow os_compute_api:servers:detail:get_all_tenants to be performed."
        )
    if not everywhere:
        selection.project_id = who.project_id
        selection.add("server.project_id = %s::text", who.project_id)
    else:
        project = call.query("project_id") or call.query("tenant_id")
        if project:
            selection.add("server.project_id::text = %s::text", project)
    _select_by_time(call, selection)
    given = call.request.args
    for name, read in READERS.items():
        if name.encode() in given:
            read(call, selection, call.queries(name))
    return selection


def _select_by_time(call: Call, selection: Selection) -> None:
    """Deleted servers are seen by administrators who ask, and by who asks for changes."""
    since, before = call.query("changes-since"), call.query("changes-before")
    if before is not None and call.minor < 66:
        before = None
    since_at = None if since is None else moment("changes-since", since)
    before_at = None if before is None else moment("changes-before", before)
    if since_at is not None:
        selection.add("server.updated_at >= %s::timestamptz", since_at)
    if before_at is not None:
        if since_at is not None and since_at > before_at:
            raise BadRequest("The value of changes-since must not be after changes-before.")
        selection.add("server.updated_at <= %s::timestamptz", before_at)
    deleted = call.query("deleted") if call.who.admin else None
    statuses = {status.upper() for status in call.queries("status")}
    if "DELETED" in statuses and not call.who.admin:
        raise Forbidden("Only administrators may list deleted instances")
    if "DELETED" in statuses:
        if statuses == {"DELETED"}:
            selection.add("server.deleted_at is not null")
    elif deleted is not None:
        gone = deleted.strip().lower() in TRUE
        selection.add(f"server.deleted_at is {'not ' if gone else ''}null")
    elif since_at is None and before_at is None:
        selection.add("server.deleted_at is null")


Reader = Callable[[Call, Selection, list[str]], None]


def _equal(column: str, joined: bool = False, least: int = 0, admin: bool = False) -> Reader:
    """A filter by one of the given values; without effect below its microversion."""

    def read(call: Call, selection: Selection, values: list[str]) -> None:
        if call.minor >= least and (call.who.admin or not admin):
            selection.add(f"{column}::text = any(%s::text[])", values, joined=joined)

    return read


def _status(call: Call, selection: Selection, values: list[str]) -> None:
    wanted = [value.upper() for value in values]
    selection.add("seen.status = any(%s::text[])", wanted, joined=True)


def _reference(column: str) -> Reader:
    """A filter by an id, or a URL that ends in it."""

    def read(call: Call, selection: Selection, values: list[str]) -> None:
        ids = [value.rstrip("/").rpartition("/")[2] for value in values]
        selection.add(f"{column}::text = any(%s::text[])", ids, joined=True)

    return read


def _pattern(column: str) -> Reader:
    def read(call: Call, selection: Selection, values: list[str]) -> None:
        matching(selection, column, values[-1])

    return read


def _address(family: int) -> Reader:
    # With an offset PostgreSQL looks into each server, not at everybody's addresses.
    wrap = (
        "exists (select 1 from port join address on address.port_id = port.id"
        f" where port.server_id = server.id and family(address.address) = {family} and {{}}"
        " offset 0)"
    )

    def read(call: Call, selection: Selection, values: list[str]) -> None:
        matching(selection, "host(address.address)", values[-1], wrap)

    return read


def _flag(name: str, least: int = 0) -> Reader:
    def read(call: Call, selection: Selection, values: list[str]) -> None:
        if call.minor >= least:
            selection.add(f"{'' if boolean(name, values[-1]) else 'not '}server.{name}")

    return read


def _tagged(every: bool, wanted: bool) -> Reader:
    """A filter by tags, several in one value with commas between them."""

    def read(call: Call, selection: Selection, values: list[str]) -> None:
        if call.minor < 26:
            return
        tags = sorted({tag for value in values for tag in value.split(",")})
        has = (
            "(select count(*) from server_tag where server_tag.server_id = server.id"
            " and server_tag.tag = any(%s::text[]))"
        )
        least = len(tags) if every else 1
        selection.add(f"{has} {'>=' if wanted else '<'} %s::bigint", tags, least)

    return read


READERS: dict[str, Reader] = {
    "availability_zone": _equal("coalesce(server.availability_zone, 'nova')"),
    "config_drive": _flag("config_drive"),
    "description": _pattern("coalesce(server.description, '')"),
    "flavor": _reference("flavor.uuid"),
    "host": _equal("server.node", admin=True),
    "hostname": _pattern("server.hostname"),
    "image": _reference("image.uuid"),
    "ip": _address(4),
    "ip6": _address(6),
    "key_name": _equal("server.key_name"),
    "locked": _flag("locked", least=73),
    "name": _pattern("server.name"),
    "node": _equal("server.node", admin=True),
    "not-tags": _tagged(every=True, wanted=False),
    "not-tags-any": _tagged(every=False, wanted=False),
    "power_state": _equal(f"({documents.POWER})"),
    "reservation_id": _equal("server.reservation_id"),
    "status": _status,
    "tags": _tagged(every=True, wanted=True),
    "tags-any": _tagged(every=False, wanted=True),
    "task_state": _equal(f"({TASK})", joined=True),
    "user_id": _equal("server.user_id"),
    "uuid": _equal("server.uuid"),
    "vm_state": _equal(f"({documents.VM_STATE})"),
}


@dataclass(frozen=True)
class Order:
    """How a list is ordered: pairs of an SQL template and ``asc`` or ``desc``."""

    keys: tuple[tuple[str, str], ...]

    def sql(self) -> str:
        """What stands after ``order by``."""
        return ", ".join(f"{template.format(t='server')} {way}" for template, way in self.keys)

    def everywhere(self) -> Order:
        """The same order for the servers of all projects.

        It has an index of its own, so that nobody takes that for one project's servers: where
        a project has much, PostgreSQL would, and read the servers of the others too.
        """
        age = SORT_KEYS["created_at"]
        return Order(tuple((_AGE if key == age else key, way) for key, way in self.keys))

    def columns(self) -> str:
        """What a server has of each key, as ``key0``, ``key1`` and so on."""
        return ", ".join(
            f"{template.format(t='server')} as key{number}"
            for number, (template, _) in enumerate(self.keys)
        )

    def after(self) -> str:
        """The condition that a row comes after the only row of ``marker``, by its columns.

        They are looked up one by one: to an index they are constants then, and a page in the
        middle of a long list begins where it begins.
        """
        every = [
            (template.format(t="server"), f"(select key{number} from marker)", way)
            for number, (template, way) in enumerate(self.keys)
        ]
        ways = {way for _, _, way in every}
        if len(ways) == 1:
            sign = ">" if ways == {"asc"} else "<"
            left = ", ".join(mine for mine, _, _ in every)
            right = ", ".join(theirs for _, theirs, _ in every)
            return f"({left}) {sign} ({right})"
        condition = "false"
        for mine, theirs, way in reversed(every):
            sign = ">" if way == "asc" else "<"
            condition = f"({mine} {sign} {theirs} or ({mine} = {theirs} and {condition}))"
        return condition


def order(call: Call) -> Order:
    """Read the order of a list; newest first when none is asked for.

    :raise BadRequest: for a key or direction that there is not.
    """
    keys, ways = call.queries("sort_key"), call.queries("sort_dir")
    keys = [key.strip() for key in keys] or ["created_at"]
    ways = [way.strip().lower() for way in ways] or ["desc"]
    if any(way not in ("asc", "desc") for way in ways):
        raise BadRequest("Invalid input for query parameters sort_dir: asc or desc is meant.")
    if len(ways) > len(keys):
        raise BadRequest("Sort direction size exceeds sort key size")
    ways += [ways[0]] * (len(keys) - len(ways))
    found: dict[str, str] = {}
    for key, way in zip(keys, ways, strict=True):
        template = SORT_KEYS.get(key)
        if key in _ADMIN_SORT_KEYS:
            if not call.who.admin:
                raise Forbidden(f"Only administrators can sort servers by {key}")
            template = _ADMIN_SORT_KEYS[key]
        if key in _EMPTY_SORT_KEYS:
            continue
        if template is None or (key == "locked" and call.minor < 73):
            raise BadRequest(f"Invalid input for query parameters sort_key. Value: {key}.")
        found.setdefault(template, way)
    found.setdefault(SORT_KEYS["created_at"], ways[0])
    found["{t}.id"] = ways[0]
    return Order(tuple(found.items()))
