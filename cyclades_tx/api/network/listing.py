"""Lists and single things of Network: filters, fields, sorting and pages, written by PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from cyclades_tx.api.documents import one
from cyclades_tx.api.frame import Call, Reply
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


@dataclass(frozen=True)
class Page:
    """Which part of a list is wanted.

    :ivar limit: None is all.
    :ivar number: the SQL of each thing's place in the direction of reading.
    :ivar by_id: whether that place is the id itself, negative when read in reverse: then a page
        costs no more when the list is long.
    """

    limit: int | None
    marker: str | None
    reverse: bool
    number: str
    by_id: bool


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
    condition, args = _condition(call, collection)
    after = ""
    if page.marker is not None:
        known = await database.value(
            f"select {collection.table}.id from {collection.source}"
            f" where {collection.table}.uuid = %s::uuid and {collection.condition}",
            (page.marker, *seen_by(call.who)),
        )
        if known is None:
            raise BadRequest(f"The marker {page.marker} is not known.")
        if page.by_id:
            after = " where number > %s::bigint"
            args.append(-known if page.reverse else known)
        else:
            after = " where number > (select number from ranked where id = %s::bigint)"
            args.append(known)
    paged = page.limit is not None or page.marker is not None
    most = _MOST if page.limit is None else page.limit
    sql = (
        f"with ranked as (select {collection.table}.id, {page.number} as number"
        f" from {collection.source} where {condition}),"
        f" page as (select id, row_number() over (order by number) as place"
        f" from ranked{after} order by number limit %s::bigint + 1),"
        f" shown as (select place, {collection.table}.uuid as uuid, {text} as doc"
        f" from page cross join {collection.source}"
        f" where {collection.table}.id = page.id and place <= %s::bigint)"
        f" select '{{\"{collection.plural}\": [' || coalesce(string_agg(doc, ', '"
        f" order by place {'desc' if page.reverse else ''}), '') || ']'"
    )
    args += [most, most]
    if paged:
        links, link_args = _links(call, collection, page)
        sql += links
        args += link_args
    document: bytes = await database.document(f"{sql} || '}}' from shown", args)
    return document


def _fields(call: Call, collection: Collection) -> frozenset[str] | None:
    """The members that are wanted; unknown ones are skipped."""
    asked = call.queries("fields")
    if not any(asked):
        return None
    known = {member.name for member in collection.document.members}
    return frozenset(known.intersection(asked))


def _condition(call: Call, collection: Collection) -> tuple[str, list[Any]]:
    """The SQL of what is seen and asked for, with its arguments."""
    sql = collection.condition
    args: list[Any] = [*seen_by(call.who)]
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
            sql += f" and {wanted.sql} = any({array})"
            args.append(values)
            continue
        pieces = wanted.sql.replace("{empty}", "{values}{empty}").split("{values}")
        sql += f" and {pieces[0]}"
        for piece in pieces[1:]:
            if piece.startswith("{empty}"):
                sql += "%s::boolean" + piece.removeprefix("{empty}")
                args.append("" in texts)
            else:
                sql += array + piece
                args.append(values)
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
        limit = (min(int(text), _MOST - 1) if len(text) <= 10 else _MOST - 1) or None
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
    order = []
    for key, direction in dict(zip(keys, directions, strict=True)).items():
        wanted = collection.filters.get(key)
        if wanted is None or not wanted.sortable:
            raise BadRequest(f"{key[:80]!r} is not an attribute to sort by.")
        if direction not in ("asc", "desc"):
            raise BadRequest(f"The sort direction {direction[:80]!r} is neither asc nor desc.")
        order.append((wanted.sql, direction == "desc"))
    order.append((f"{collection.table}.id", False))
    written = ", ".join(
        f"{sql} {'desc nulls last' if descending != reverse else 'asc nulls first'}"
        for sql, descending in order
    )
    number = f"row_number() over (order by {written})"
    if not keys:
        number = f"{'-' if reverse else ''}{collection.table}.id"
    return Page(limit, marker, reverse, number, by_id=not keys)


def _links(call: Call, collection: Collection, page: Page) -> tuple[str, list[Any]]:
    """The SQL of the links to the pages beside this one, with its arguments.

    One place more than the page shows was ranked, which tells whether there is more.
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
        f" || ', \"{collection.plural}_links\": ' || array_to_json(array_remove(array["
        f"({link('next', conditions[0], newest)})::text,"
        f" ({link('previous', conditions[1], oldest)})::text], null)::json[])"
    )
    most = _MOST if page.limit is None else page.limit
    values = {came: page.marker is not None, more: most}
    return sql, [values[conditions[0]], onward, values[conditions[1]], back]
