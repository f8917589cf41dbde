"""Lists and single things of Network: filters, fields, sorting and pages, written by PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.documents import one
from cyclades_tx.api.network.collections import (
    BOOLEAN,
    MAC,
    NUMBER,
    UUID,
    Collection,
    Filter,
    seen_by,
)
from cyclades_tx.errors import BadRequest, NotFound
from cyclades_tx.model.address import mac_from
from cyclades_tx.model.ids import parse_uuid

_TRUE = ("true", "1", "yes", "on", "t", "y")
_FALSE = ("false", "0", "no", "off", "f", "n")
_MOST = 2**31 - 1
_MOST_VALUES = 1000

#: The longest page; who asks for more, or for all, finds a link to the next one.
MOST_SHOWN = 1000


@dataclass(frozen=True)
class Page:
    """Which part of a list is wanted.

    :ivar asked: whether pages were asked for.
    :ivar keys: what it is sorted by before the id: the expression, and whether descending in the
        direction of reading.
    """

    limit: int
    marker: str | None
    reverse: bool
    asked: bool
    keys: tuple[tuple[str, bool], ...]


async def show(database: Any, call: Call, collection: Collection, ref: str) -> bytes:
    """One thing by its id, as a document in its singular.

    :raise NotFound: when the caller sees none of that id; anything can stand there.
    """
    text = collection.document.text(admin=call.who.admin, fields=_fields(call, collection))
    uuid = parse_uuid(ref.removesuffix(".json"))
    document: bytes | None = None
    if uuid is not None:
        document = await database.document(
            f"select {one(collection.singular, text)} from {collection.source}"
            f" where {collection.table}.uuid = %s::uuid and {collection.condition}",
            (uuid, *seen_by(call.who)),
        )
    if document is None:
        raise missing(collection, ref)
    return document


def missing(collection: Collection, ref: str) -> NotFound:
    """The error for an id that the caller sees nothing under."""
    return NotFound(f"{collection.label} {ref} could not be found.", collection.kind)


async def list_all(database: Any, call: Call, collection: Collection) -> bytes | Reply:
    """The things that the caller sees, filtered, sorted, and by pages if that is asked for.

    :raise BadRequest: when a value cannot be what its filter compares, for a wrong limit or
        sort key, and for a marker that the caller does not see.
    """
    page = _page(call, collection)
    text = collection.document.text(admin=call.who.admin, fields=_fields(call, collection))
    found, args = _found(call, collection, page)
    links, link_args = _links(call, collection, page)
    sql = (
        f"with {found},"
        f" shown as (select place, {collection.table}.uuid as uuid, {text} as doc"
        f" from page cross join {collection.source}"
        f" where {collection.table}.id = page.id and place <= %s::bigint)"
        f" select '{{\"{collection.plural}\": [' || coalesce(string_agg(doc, ', '"
        f" order by place {'desc' if page.reverse else ''}), '') || ']' || {links} || '}}'"
        " from shown"
    )
    if page.marker is not None:
        # A marker that is not there, or not the caller's to see, is told from an empty page.
        sql += " having exists (select from marker)"
    document: bytes | None = await database.document(sql, [*args, page.limit, *link_args])
    if document is None:
        raise BadRequest(f"The marker {page.marker} is not known.")
    return document


def _found(call: Call, collection: Collection, page: Page) -> tuple[str, list[Any]]:
    """The SQL of ``page``: the ids of a page and one more, in order; with its arguments.

    Each part of what is seen is read by itself, from the marker on and no further than the
    page, so that an index gives it and nothing before it or of others is looked at.
    """
    table, who, seen = collection.table, call.who, collection.seen
    # The indexes by project have the id as this expression. By the id itself PostgreSQL would
    # take the primary key for a project that has much, and read the rows of the others too.
    number = f"{table}.id" if who.admin else f"({table}.id + 0)"
    way = "desc" if page.reverse else "asc"
    order = [
        (sql, f"key{position}", "desc nulls last" if descending else "asc nulls first")
        for position, (sql, descending) in enumerate(page.keys)
    ]
    order.append((number, "id", way))
    columns = ", ".join(f"{sql} as {name}" for sql, name, _ in order)
    inside = ", ".join(f"{sql} {way}" for sql, _, way in order)
    outside = ", ".join(f"{name} {way}" for _, name, way in order)
    marker, after = "", ""
    args: list[Any] = []
    if page.marker is not None:
        marker = (
            f"marker as materialized (select {columns} from {collection.source}"
            f" where {table}.uuid = %s::uuid and {collection.condition}), "
        )
        args += [page.marker, *seen_by(who)]
        after = f" and {_after(page, number)}"
    condition, values = _condition(call, collection)
    texts = []
    for part in ("true",) if who.admin else seen.parts:
        texts.append(
            f"(select {columns} from {collection.source} where {seen.live} and {part}{after}"
            f"{condition} order by {inside} limit %s::bigint)"
        )
        args += [*([] if who.admin else [who.project_id]), *values, page.limit + 1]
    return (
        f"{marker}page as (select id, row_number() over (order by {outside}) as place"
        f" from ({' union all '.join(texts)}) as part order by {outside} limit %s::bigint)"
    ), [*args, page.limit + 1]


def _after(page: Page, number: str) -> str:
    """The condition that a row comes after the only row of ``marker``; null is the least value."""
    condition = f"{number} {'<' if page.reverse else '>'} (select id from marker)"
    for position, (mine, descending) in reversed(list(enumerate(page.keys))):
        theirs = f"(select key{position} from marker)"
        if descending:
            beyond = f"{mine} < {theirs} or {mine} is null and {theirs} is not null"
        else:
            beyond = f"{mine} > {theirs} or {mine} is not null and {theirs} is null"
        condition = f"({beyond} or {mine} is not distinct from {theirs} and {condition})"
    return condition


def _fields(call: Call, collection: Collection) -> frozenset[str] | None:
    """The members that are wanted; unknown ones are skipped."""
    asked = call.queries("fields")
    if not any(asked):
        return None
    known = {member.name for member in collection.document.members}
    return frozenset(known.intersection(asked))


def _condition(call: Call, collection: Collection) -> tuple[str, list[Any]]:
    """The SQL of what is asked for, to follow another condition, with its arguments."""
    sql = ""
    args: list[Any] = []
    for name, wanted in collection.filters.items():
        texts = call.queries(name)
        if not texts:
            continue
        if len(texts) > _MOST_VALUES:
            raise BadRequest(f"More than {_MOST_VALUES} values of {name!r} are given.")
        values = _values(name, wanted, texts)
        # An execute's array of texts becomes nothing else by itself.
        array = f"%s::{wanted.kind}[]"
        if wanted.kind in (UUID, MAC):
            array = f"%s::text[]::{wanted.kind}[]"
        if "{values}" not in wanted.sql:
            fits = f"{wanted.sql} = any({array})"
            args.append(values)
        else:
            fits = wanted.sql.replace("{values}", array)
            args += [values] * wanted.sql.count("{values}")
        if wanted.empty and "" in texts:
            fits = f"({fits} or {wanted.empty})"
        sql += f" and {fits}"
    return sql, args


def _values(name: str, wanted: Filter, texts: list[str]) -> list[Any]:
    """What PostgreSQL compares; ids that are none match nothing."""
    if wanted.kind == UUID:
        return [uuid for uuid in map(parse_uuid, texts) if uuid is not None]
    if wanted.kind == BOOLEAN:
        return [_boolean(name, text) for text in texts]
    if wanted.kind == NUMBER:
        return [_number(name, text) for text in texts]
    if wanted.kind == MAC:
        return [mac for mac in map(_mac, texts) if mac is not None]
    if name in ("tags", "tags-any", "not-tags", "not-tags-any"):
        return sorted({tag for text in texts for tag in text.split(",") if tag})
    return texts


def _mac(text: str) -> str | None:
    try:
        return mac_from(text)
    except BadRequest:
        return None


def _boolean(name: str, text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise BadRequest(
        f"Invalid input for {name}. Reason: {text[:80]!r} is neither true nor false.",
        neutron_type="InvalidInput",
    )


def _number(name: str, text: str) -> int:
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 10 or int(digits) > _MOST:
        raise BadRequest(
            f"Invalid input for {name}. Reason: {text[:80]!r} is not a number.",
            neutron_type="InvalidInput",
        )
    return int(text)


def _page(call: Call, collection: Collection) -> Page:
    limit = None
    text = call.query("limit")
    if text is not None:
        if not text.isascii() or not text.isdigit():
            raise BadRequest(f"Bad limit: {text[:80]!r} is not a number from 0.")
        # As in Neutron, 0 is no limit.
        limit = min(int(text), MOST_SHOWN) if len(text) <= 10 else MOST_SHOWN
    marker = call.query("marker") or None
    if marker is not None:
        uuid = parse_uuid(marker)
        if uuid is None:
            raise BadRequest(f"The marker {marker[:80]!r} is not known.")
        marker = uuid
    reverse = _boolean("page_reverse", call.query("page_reverse") or "false")
    keys = call.queries("sort_key")
    directions = call.queries("sort_dir")
    if len(directions) > len(keys):
        raise BadRequest("There must be a sort_key for every sort_dir.")
    directions += ["asc"] * (len(keys) - len(directions))
    order: list[tuple[str, bool]] = []
    for key, direction in dict(zip(keys, directions, strict=True)).items():
        wanted = collection.filters.get(key)
        if wanted is None or not wanted.sortable:
            raise BadRequest(f"{key[:80]!r} is not an attribute to sort by.")
        if direction not in ("asc", "desc"):
            raise BadRequest(f"The sort direction {direction[:80]!r} is neither asc nor desc.")
        order.append((wanted.sql, (direction == "desc") != reverse))
    return Page(
        limit or MOST_SHOWN,
        marker,
        reverse,
        asked=bool(limit) or marker is not None,
        keys=tuple(order),
    )


def _links(call: Call, collection: Collection, page: Page) -> tuple[str, list[Any]]:
    """The SQL of the links to the pages beside this one, with its arguments.

    One place more than the page shows was found, which tells whether there is more. Without pages
    asked for there are links only where there is more.
    """
    rest = [
        (name.decode("latin-1"), value)
        for name, values in call.request.args.items()
        if name not in (b"marker", b"page_reverse")
        for value in values
    ]
    base = f"{call.base_url}/network/v2.0/{collection.path}?"
    onward = base + urlencode([*rest, ("marker", "")])
    back = base + urlencode([*rest, ("page_reverse", "True"), ("marker", "")])
    more = "(select count(*) > %s::bigint from page)"
    came = "%s::boolean"
    newest, oldest = ("max", "min") if not page.reverse else ("min", "max")
    conditions = (came, more) if page.reverse else (more, came)

    def link(rel: str, when: str, side: str) -> str:
        found = f"(select s.uuid from shown s where s.place = (select {side}(place) from shown))"
        return (
            f"case when {when} and count(*) > 0 then json_build_object('rel', '{rel}', 'href',"
            f" %s::text || {found}) end"
        )

    sql = (
        f"', \"{collection.plural}_links\": ' || array_to_json(array_remove(array["
        f"({link('next', conditions[0], newest)})::text,"
        f" ({link('previous', conditions[1], oldest)})::text], null)::json[])"
    )
    values = {came: page.marker is not None, more: page.limit}
    args = [values[conditions[0]], onward, values[conditions[1]], back]
    if page.asked:
        return sql, args
    return f"case when {more} then {sql} else '' end", [page.limit, *args]
