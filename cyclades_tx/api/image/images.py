"""Images: listed, shown, made, changed and deleted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from msgspec import UnsetType

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.documents import many
from cyclades_tx.api.image import changes, new_image
from cyclades_tx.api.image.discovery import IMPORT_HEADER
from cyclades_tx.api.image.documents import IMAGE_TEXT, time
from cyclades_tx.errors import BadRequest, NotFound
from cyclades_tx.flows import images as flows
from cyclades_tx.model.ids import parse_uuid
from cyclades_tx.model.image import VISIBILITIES
from cyclades_tx.store.images import VISIBLE, seen_by

_USUAL_LIMIT = 25
_MOST_LIMIT = 1000
_MOST_VALUES = 1000
_MOST_FILTERS = 50
_MOST_NUMBER = 2**63 - 1

# The words of a list that are no filters, and what other services' clients send along.
_WORDS = frozenset(
    ("limit", "marker", "sort", "sort_key", "sort_dir", "member_status", "visibility", "os_hidden",
     "deleted", "is_public", "changes-since")
)  # fmt: skip
_SORT_KEYS = {
    "name": "image.name",
    "status": "image.status",
    "container_format": "image.container_format",
    "disk_format": "image.disk_format",
    "size": "image.size_bytes",
    "id": "image.uuid",
    "created_at": "image.created_at",
    "updated_at": "image.updated_at",
    "min_disk": "image.min_disk_gib",
    "min_ram": "image.min_memory_mib",
    "owner": "image.project_id",
    "visibility": "image.visibility",
    "protected": "image.protected",
}
_TEXTS = {
    "name": "image.name",
    "status": "image.status",
    "owner": "image.project_id",
    "container_format": "image.container_format",
    "disk_format": "image.disk_format",
    "checksum": "image.md5",
    "os_hash_algo": "image.hash_algorithm",
    "os_hash_value": "image.hash_value",
}
_NUMBERS = {
    "size": "image.size_bytes =",
    "size_min": "image.size_bytes >=",
    "size_max": "image.size_bytes <=",
    "virtual_size": "image.virtual_bytes =",
    "min_disk": "image.min_disk_gib =",
    "min_ram": "image.min_memory_mib =",
}
_TIMES = {"created_at": "image.created_at", "updated_at": "image.updated_at"}
_COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "eq": "=", "neq": "<>"}

#: The SQL of what a list shows by itself; arguments: admin, project, project, states of sharing.
_LISTED = (
    "(%s::boolean or image.project_id = %s::text or image.visibility = 'public'"
    " or (image.visibility = 'shared' and exists (select from image_member m"
    " where m.image_id = image.id and m.project_id = %s::text and m.status = any(%s::text[]))))"
)


class Images:
    """The endpoints of images.

    :param flows: what they ask for.
    :param methods: the ways to import data that clients are told of.
    """

    def __init__(self, database: Any, flows: flows.Images, methods: tuple[str, ...] = ()) -> None:
        self._database = database
        self._flows = flows
        self._methods = methods

    async def list_all(self, call: Call) -> bytes:
        """The images that the caller sees, by pages.

        :raise BadRequest: for a value that its filter cannot compare, a wrong limit or sort key,
            and a marker that the caller does not see.
        """
        limit = _limit(call.query("limit"))
        order = _order(call)
        condition, args = _conditions(call)
        after = ""
        marker = call.query("marker")
        if marker:
            known = await self._seen(call, marker, BadRequest)
            after = " where number > (select number from ranked where id = %s::bigint)"
            args.append(known)
        rest = [
            (name, value)
            for name in _names(call)
            if name != "marker"
            for value in call.queries(name)
        ]
        first = "/v2/images" + (f"?{urlencode(rest)}" if rest else "")
        onward = "/v2/images?" + urlencode([*rest, ("marker", "")])
        document: bytes = await self._database.document(
            f"with ranked as (select image.id, row_number() over (order by {order}) as number"
            f" from image where {condition}),"
            " page as (select id, row_number() over (order by number) as place"
            f" from ranked{after} order by number limit %s::bigint + 1),"
            f" shown as (select place, image.uuid as uuid, {IMAGE_TEXT} as doc"
            " from page join image on image.id = page.id where place <= %s::bigint)"
            f" select '{{\"images\": ' || {many('doc', 'place')} || ', \"first\": ' ||"
            ' to_json(%s::text)::text || \', "schema": "/v2/schemas/images"\' ||'
            " case when (select count(*) > %s::bigint from page) and count(*) > 0"
            " then ', \"next\": ' || to_json(%s::text || (array_agg(uuid order by place desc))[1])"
            "::text else '' end || '}' from shown",
            [*args, limit, limit, first, limit, onward],
        )
        return document

    async def show(self, call: Call, ref: str) -> bytes:
        """One image.

        :raise NotFound: when the caller sees none of that id; anything can stand there.
        """
        uuid = parse_uuid(ref)
        document: bytes | None = None
        if uuid is not None:
            document = await self._database.document(
                f"select {IMAGE_TEXT} from image where image.uuid = %s::uuid and {VISIBLE}",
                (uuid, *seen_by(call.who)),
            )
        if document is None:
            raise _missing(ref)
        return document

    async def create(self, call: Call) -> Reply:
        """Make an image, without data yet; 201."""
        body, properties = new_image.read(call)
        uuid = await self._flows.create(
            call.who,
            attributes=new_image.given(body),
            properties=properties,
            tags=() if isinstance(body.tags, UnsetType) else body.tags,
            uuid=None if isinstance(body.id, UnsetType) else body.id,
        )
        headers = {"Location": f"{call.base_url}/image/v2/images/{uuid}"}
        if self._methods:
            headers[IMPORT_HEADER] = ",".join(self._methods)
        return Reply(201, await self.show(call, uuid), headers)

    async def update(self, call: Call, ref: str) -> bytes:
        """Change an image by a JSON patch."""
        # To those who do not see it, its body says nothing.
        await self._seen(call, ref)
        await self._flows.update(call.who, ref, changes.read(call))
        return await self.show(call, ref)

    async def delete(self, call: Call, ref: str) -> Reply:
        """Delete an image; 204."""
        await self._flows.delete(call.who, ref)
        return Reply(204)

    async def deactivate(self, call: Call, ref: str) -> Reply:
        """Let nobody have an image's data for a while; 204."""
        await self._flows.deactivate(call.who, ref)
        return Reply(204)

    async def reactivate(self, call: Call, ref: str) -> Reply:
        """End that; 204."""
        await self._flows.reactivate(call.who, ref)
        return Reply(204)

    async def _seen(
        self, call: Call, ref: str, error: Callable[[str], Exception] | None = None
    ) -> int:
        """The id of an image that the caller sees."""
        uuid = parse_uuid(ref)
        found: int | None = None
        if uuid is not None:
            found = await self._database.value(
                f"select image.id from image where image.uuid = %s::uuid and {VISIBLE}",
                (uuid, *seen_by(call.who)),
            )
        if found is None:
            raise (
                _missing(ref) if error is None else error(f"The marker {ref[:80]!r} is not known.")
            )
        return found


def _missing(ref: str) -> NotFound:
    return NotFound(f"No image found with ID {ref}", "image")


def _names(call: Call) -> list[str]:
    """The names of the query's parameters."""
    try:
        names = [name.decode() for name in call.request.args]
    except UnicodeDecodeError:
        raise BadRequest("The name of a query parameter is not UTF-8.") from None
    if any("\0" in name for name in names):
        raise BadRequest("The name of a query parameter holds a NUL character.")
    return names


def _limit(text: str | None) -> int:
    if text is None:
        return _USUAL_LIMIT
    if not text.isascii() or not text.isdigit():
        raise BadRequest(f"limit param must be an integer from 0, not {text[:80]!r}.")
    return min(int(text), _MOST_LIMIT) if len(text) <= 10 else _MOST_LIMIT


def _order(call: Call) -> str:
    """The SQL order; newest first unless it is asked for otherwise."""
    keys, directions = call.queries("sort_key"), call.queries("sort_dir")
    together = call.query("sort")
    if together is not None:
        if keys or directions:
            raise BadRequest("sort goes without sort_key and sort_dir.")
        parts = [part.strip().partition(":") for part in together.split(",")]
        keys = [part[0] for part in parts]
        directions = [part[2] or "desc" for part in parts]
    if len(directions) > max(len(keys), 1):
        raise BadRequest("There must be a sort_key for every sort_dir.")
    # One direction goes for all keys.
    usual = directions[0] if len(directions) == 1 else "desc"
    if not keys:
        keys = ["created_at"]
    directions += [usual] * (len(keys) - len(directions))
    order: dict[str, str] = {}
    for key, direction in zip(keys, directions, strict=True):
        if key not in _SORT_KEYS:
            raise BadRequest(f"{key[:80]!r} is not a sort key: use one of {', '.join(_SORT_KEYS)}.")
        if direction not in ("asc", "desc"):
            raise BadRequest(f"{direction[:80]!r} is not a sort direction: use asc or desc.")
        order.setdefault(_SORT_KEYS[key], direction)
    order["image.id"] = directions[-1]
    return ", ".join(f"{sql} {direction}" for sql, direction in order.items())


def _conditions(call: Call) -> tuple[str, list[Any]]:
    """The SQL of what is seen and asked for, with its arguments."""
    states = call.query("member_status") or "accepted"
    if states not in ("accepted", "pending", "rejected", "all"):
        raise BadRequest(f"{states[:80]!r} is not a member status.")
    who = call.who
    shared = ["accepted", "pending", "rejected"] if states == "all" else [states]
    sql = _LISTED
    args: list[Any] = [who.admin, who.project_id, who.project_id, shared]
    visibility = call.query("visibility")
    if visibility is not None:
        if visibility in ("community", "all"):
            sql = f"({sql} or image.visibility = 'community')"
        if visibility != "all":
            if visibility not in VISIBILITIES:
                raise BadRequest(f"{visibility[:80]!r} is not a visibility.")
            sql += " and image.visibility = %s::text"
            args.append(visibility)
    sql += " and image.deleted_at is null and image.hidden = %s::boolean"
    args.append(_boolean("os_hidden", call.query("os_hidden") or "false"))
    names = [name for name in _names(call) if name not in _WORDS]
    if len(names) > _MOST_FILTERS:
        raise BadRequest(f"More than {_MOST_FILTERS} filters are given.")
    for name in names:
        values = call.queries(name)
        if len(values) > _MOST_VALUES:
            raise BadRequest(f"More than {_MOST_VALUES} values of {name[:80]!r} are given.")
        condition, more = _filter(name, values)
        sql += f" and {condition}"
        args += more
    return sql, args


def _filter(name: str, values: list[str]) -> tuple[str, list[Any]]:
    """The SQL and arguments of one filter."""
    value = values[-1]
    if name == "id":
        uuids = [uuid for uuid in map(parse_uuid, _one_of(value)) if uuid is not None]
        return "image.uuid = any(%s::text[]::uuid[])", [uuids]
    if name == "tag":
        return (
            "(select count(*) from image_tag t where t.image_id = image.id"
            " and t.tag = any(%s::text[])) = %s::bigint",
            [values, len(set(values))],
        )
    if name == "protected":
        return "image.protected = %s::boolean", [_boolean(name, value)]
    if name in _TEXTS:
        return f"{_TEXTS[name]} = any(%s::text[])", [_one_of(value)]
    if name in _NUMBERS:
        if not value.isascii() or not value.isdigit() or int(value[:20]) > _MOST_NUMBER:
            raise BadRequest(f"The value of {name} must be a number from 0, not {value[:80]!r}.")
        return f"{_NUMBERS[name]} %s::bigint", [int(value)]
    if name in _TIMES:
        comparison, _, moment = value.partition(":")
        sign = _COMPARISONS.get(comparison)
        if sign is None:
            sign, moment = "=", value
        return f"{time(_TIMES[name])} {sign} %s::text", [_moment(name, moment)]
    return (
        "exists (select from image_property p where p.image_id = image.id"
        " and p.key = %s::text and p.value = %s::text)",
        [name, value],
    )


def _one_of(value: str) -> list[str]:
    """The values of ``in:a,b``, each perhaps in quotes; any other text is one value."""
    if not value.startswith("in:"):
        return [value]
    return [part.strip().strip('"') for part in value.removeprefix("in:").split(",")]


def _boolean(name: str, text: str) -> bool:
    if text.lower() in ("true", "1"):
        return True
    if text.lower() in ("false", "0"):
        return False
    raise BadRequest(f"The value of {name} must be true or false, not {text[:80]!r}.")


def _moment(name: str, text: str) -> str:
    """A moment as the documents write it, which sorts as it follows in time."""
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError):
        raise BadRequest(f"The value of {name} is not a moment: {text[:80]!r}.") from None
