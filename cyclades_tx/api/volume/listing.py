"""What may be asked of a list of volumes: filters, order, and where to go on."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from cyclades_tx.api.call import Call
from cyclades_tx.api.compute import paging
from cyclades_tx.api.compute.filters import FALSE, TRUE, moment
from cyclades_tx.api.compute.flavors import UUID
from cyclades_tx.api.documents import Document
from cyclades_tx.api.volume.documents import VOLUME_ROWS, ZONE
from cyclades_tx.errors import BadRequest, NotFound
from cyclades_tx.store.volumes import SHOWN_STATUS

LIKE_FIRST = 34
COUNT_FIRST = 45
TIMES_FIRST = 60

#: The SQL of the keys that a list can be ordered by.
SORT_KEYS = {
    "id": "volume.uuid",
    "status": f'({SHOWN_STATUS}) collate "C"',
    "size": "volume.size_gib",
    "availability_zone": f'({ZONE}) collate "C"',
    "display_name": 'volume.name collate "C"',
    "name": 'volume.name collate "C"',
    "bootable": "volume.bootable",
    "created_at": "volume.created_at",
    "updated_at": "volume.updated_at",
}
#: The time of making as the index over all projects' volumes has it.
_AGE = "(volume.created_at at time zone 'UTC')"
_COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "eq": "=", "neq": "<>"}
_MOST_METADATA_TEXT = 20_000

#: What a list understands, for the documents.
QUERY = (
    "limit", "marker", "offset", "sort", "sort_key", "sort_dir", "all_tenants", "project_id",
    "name", "name~", "status", "metadata", "bootable", "availability_zone", "size", "user_id",
    "created_at", "updated_at", "with_count",
)  # fmt: skip


@dataclass
class Selection:
    """Which volumes a list shows, as SQL over ``volume`` and what stands beside it.

    :ivar everywhere: whether it shows those of all projects.
    """

    everywhere: bool = False
    conditions: list[str] = field(default_factory=list)
    arguments: list[Any] = field(default_factory=list)

    def add(self, condition: str, *arguments: Any) -> None:
        """Narrow it."""
        self.conditions.append(condition)
        self.arguments.extend(arguments)


Reader = Callable[[Selection, str], None]


def _equal(column: str) -> Reader:
    def read(selection: Selection, value: str) -> None:
        selection.add(f"{column}::text = %s::text", value)

    return read


def _bootable(selection: Selection, value: str) -> None:
    word = value.strip().lower()
    if word not in TRUE and word not in FALSE:
        raise BadRequest(f"Invalid value for bootable: {value[:80]!r}: true or false is meant.")
    selection.add(f"{'' if word in TRUE else 'not '}volume.bootable")


def _metadata(selection: Selection, value: str) -> None:
    """Narrow by metadata, which clients write as Python writes a dictionary."""
    for key, each in _pairs(value).items():
        selection.add(
            "exists (select from volume_metadata m where m.volume_id = volume.id"
            " and m.key = %s::text and m.value = %s::text)",
            key,
            each,
        )


def _pairs(text: str) -> dict[str, str]:
    wrong = BadRequest("Invalid value for metadata: {'key': 'value'} is meant.")
    if len(text) > _MOST_METADATA_TEXT:
        raise wrong
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise wrong from None
    if not isinstance(found, dict) or len(found) > 128:
        raise wrong
    pairs = {str(key): str(value) for key, value in found.items()}
    if any("\0" in each or not _whole(each) for pair in pairs.items() for each in pair):
        raise wrong
    return pairs


def _whole(text: str) -> bool:
    """Whether a text has no half of a character, which no database takes."""
    return not any(0xD800 <= ord(each) <= 0xDFFF for each in text)


def _like(selection: Selection, value: str) -> None:
    selection.add("strpos(volume.name, %s::text) > 0", value)


def _time(name: str) -> Reader:
    def read(selection: Selection, value: str) -> None:
        for part in value.split(","):
            word, colon, rest = part.partition(":")
            sign = _COMPARISONS.get(word.strip()) if colon else None
            at = moment(name, rest if sign is not None else part)
            selection.add(f"volume.{name} {sign or '='} %s::timestamptz", at)

    return read


#: The first microversion that has each filter, and what reads it.
READERS: dict[str, tuple[int, Reader]] = {
    "name": (0, _equal("volume.name")),
    "display_name": (0, _equal("volume.name")),
    "name~": (LIKE_FIRST, _like),
    "status": (0, _equal(f"({SHOWN_STATUS})")),
    "metadata": (0, _metadata),
    "bootable": (0, _bootable),
    "availability_zone": (0, _equal(f"({ZONE})")),
    "size": (0, _equal("volume.size_gib")),
    "user_id": (0, _equal("volume.user_id")),
    "created_at": (TIMES_FIRST, _time("created_at")),
    "updated_at": (TIMES_FIRST, _time("updated_at")),
}


def select(call: Call) -> Selection:
    """Read the filters of a request; what is none has no effect.

    :raise BadRequest: for a value that makes no sense.
    """
    selection = Selection()
    selection.add("not volume.local and volume.deleted_at is null")
    asked = (call.query("all_tenants") or "").strip().lower()
    # As in the reference: whoever may not is shown his own.
    selection.everywhere = call.who.admin and asked in TRUE
    if not selection.everywhere:
        selection.add("volume.project_id = %s", call.who.project_id)
    else:
        project_id = call.query("project_id")
        if project_id:
            selection.add("volume.project_id::text = %s::text", project_id)
    for name, (first, read) in READERS.items():
        value = call.query(name)
        if value is not None and call.minor >= first:
            read(selection, value)
    return selection


def order(call: Call, everywhere: bool) -> tuple[tuple[str, str], ...]:
    """Read the order of a list, as pairs of SQL and ``asc`` or ``desc``; newest first.

    :raise BadRequest: for a key or direction that there is not.
    """
    together = call.query("sort")
    keys, ways = call.queries("sort_key"), call.queries("sort_dir")
    if together is not None:
        if keys or ways:
            raise BadRequest(
                "The 'sort_key' and 'sort_dir' parameters are deprecated and cannot be used with"
                " the 'sort' parameter."
            )
        parts = [part.strip().partition(":") for part in together.split(",")]
        keys = [part[0].strip() for part in parts]
        ways = [part[2].strip() or "desc" for part in parts]
    keys = keys[-1:] if together is None else keys
    ways = ways[-1:] if together is None else ways
    keys = keys or ["created_at"]
    ways = [way.strip().lower() for way in ways] or ["desc"]
    found: dict[str, str] = {}
    for key, way in zip(keys, ways, strict=True):
        if key.strip() not in SORT_KEYS:
            raise BadRequest(f"Invalid sort key: {key[:80]!r}; use one of {', '.join(SORT_KEYS)}.")
        if way not in ("asc", "desc"):
            raise BadRequest(f"Invalid sort direction: {way[:80]!r}; asc or desc is meant.")
        found.setdefault(SORT_KEYS[key.strip()], way)
    if everywhere and list(found) == [SORT_KEYS["created_at"]]:
        found = {_AGE: ways[0]}
    elif SORT_KEYS["id"] not in found:
        found.setdefault(SORT_KEYS["created_at"], ways[-1])
    found["volume.id"] = ways[-1]
    return tuple(found.items())


@lru_cache(maxsize=512)
def _text(
    document: Document,
    minor: int,
    admin: bool,
    filters: str,
    by: tuple[tuple[str, str], ...],
    marker: bool,
    counted: bool,
) -> str:
    ordered = ", ".join(f"{sql} {way}" for sql, way in by)
    found, after, counted_filters = "", "", filters
    if marker:
        columns = ", ".join(f"{sql} as key{number}" for number, (sql, _) in enumerate(by))
        condition = "not volume.local and volume.uuid = %s::uuid"
        if not admin:
            condition += " and volume.project_id = %s"
        found = (
            f", marker as materialized (select {columns} from volume{VOLUME_ROWS}"
            f" where {condition} and volume.deleted_at is null)"
        )
        filters += f" and {_after(by)}"
        # A marker that is not there, or not the caller's to see, is told from an empty page.
        after = " having exists (select from marker)"
    sql = (
        "with given as (select %s::text as base, %s::bigint as most, %s::text as link)"
        f"{found}, page as (select volume.id, volume.uuid as marker,"
        f" row_number() over (order by {ordered}) as place from volume{VOLUME_ROWS}"
        f" where {filters} order by {ordered} limit %s::bigint offset %s::bigint),"
        f" items as (select page.place, {document.text(minor, admin)} as item"
        f" from given cross join page join volume on volume.id = page.id{VOLUME_ROWS}"
        f" where page.place <= given.most) {paging.list_text('volumes')}{after}"
    )
    if not counted:
        return sql
    return (
        "select left(list.text, -1) || ', \"count\": ' || (select count(*) from"
        f" volume{VOLUME_ROWS} where {counted_filters}) || '}}' from ({sql}) as list (text)"
    )


def _after(by: tuple[tuple[str, str], ...]) -> str:
    """The condition that a row comes after the only row of ``marker``."""
    every = [
        (sql, f"(select key{number} from marker)", way) for number, (sql, way) in enumerate(by)
    ]
    ways = {way for _, _, way in every}
    if len(ways) == 1:
        left = ", ".join(mine for mine, _, _ in every)
        right = ", ".join(theirs for _, theirs, _ in every)
        return f"({left}) {'>' if ways == {'asc'} else '<'} ({right})"
    condition = "false"
    for mine, theirs, way in reversed(every):
        sign = ">" if way == "asc" else "<"
        condition = f"({mine} {sign} {theirs} or ({mine} = {theirs} and {condition}))"
    return condition


async def page(database: Any, call: Call, document: Document) -> bytes:
    """A page of volumes.

    :raise NotFound: for a marker that the caller does not see.
    """
    marker = call.query("marker")
    if marker is not None and UUID.fullmatch(marker) is None:
        raise NotFound(f"Volume {marker} could not be found.", "volume")
    selection = select(call)
    most, offset = paging.limit(call), paging.number(call, "offset") or 0
    counted = call.minor >= COUNT_FIRST and (call.query("with_count") or "").strip().lower() in TRUE
    admin = call.who.admin
    sql = _text(
        document,
        call.minor,
        admin,
        " and ".join(selection.conditions),
        order(call, selection.everywhere),
        marker is not None,
        counted,
    )
    given = (call.base_url + "/volume", most, paging.next_url(call))
    before = () if marker is None else (marker,) if admin else (marker, call.who.project_id)
    arguments = (*given, *before, *selection.arguments, most + 1, offset)
    if counted:
        arguments = (*selection.arguments, *arguments)
    body: bytes | None = await database.document(sql, arguments)
    if body is None:
        raise NotFound(f"Volume {marker} could not be found.", "volume")
    return body
