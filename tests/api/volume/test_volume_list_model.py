"""Lists of volumes are what a plain model says: filters, order, pages, who sees what."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from hypothesis import strategies as st

from tests.api.listing import at, for_many, minutes, put, same, texts, uuid_of

MOST = 6
IDS = [uuid_of("volume", number) for number in range(MOST)]
STATUSES = {
    "available": "available", "error": "error", "creating": "creating", "deleted": None,
    "awaiting_transfer": "awaiting-transfer", "error_deleting": "error_deleting",
}  # fmt: skip

VOLUMES = st.lists(
    st.fixed_dictionaries(
        {
            "name": texts,
            "status": st.sampled_from(sorted(STATUSES)),
            "size_gib": st.integers(1, 3),
            "bootable": st.booleans(),
            "zone": st.sampled_from((None, "c1", "c2")),
            "metadata": st.dictionaries(st.sampled_from("ab"), texts, max_size=2),
            "created": minutes,
            "updated": minutes,
            "local": st.sampled_from((False, False, False, True)),
            "project": st.sampled_from((0, 0, 0, 1)),
            "user": st.integers(0, 1),
        }
    ),
    max_size=MOST,
)


class Filter(NamedTuple):
    """A filter: its values, and whether a volume fits one of them.

    :ivar first: the microversion below which it is without effect.
    """

    values: st.SearchStrategy[str]
    fits: Any
    first: int = 0


def moments(member: str) -> Filter:
    """A filter by times, compared in a way of its own."""
    compare = {
        "gt": lambda one, other: one > other,
        "lte": lambda one, other: one <= other,
        "neq": lambda one, other: one != other,
        "": lambda one, other: one == other,
    }

    def fits(each: Any, said: str) -> bool:
        word, _, rest = said.partition(":")
        way = compare.get(word)
        minute = rest if way else said
        return bool((way or compare[""])(each[member].isoformat(), minute))

    values = st.builds(
        lambda word, minute: f"{word}:{at(minute).isoformat()}" if word else at(minute).isoformat(),
        st.sampled_from(sorted(compare)),
        minutes,
    )
    return Filter(values, fits, 60)


FILTERS = {
    "name": Filter(texts, lambda each, said: each["name"] == said),
    "name~": Filter(texts, lambda each, said: said in each["name"], 34),
    "status": Filter(
        st.sampled_from(("available", "awaiting-transfer", "awaiting_transfer", "in-use", "x")),
        lambda each, said: STATUSES[each["status"]] == said,
    ),
    "bootable": Filter(
        st.sampled_from(("true", "False", "1")),
        lambda each, said: each["bootable"] == (said != "False"),
    ),
    "availability_zone": Filter(
        st.sampled_from(("c1", "nova", "x")), lambda each, said: (each["zone"] or "nova") == said
    ),
    "size": Filter(st.sampled_from("123x"), lambda each, said: str(each["size_gib"]) == said),
    "user_id": Filter(
        st.sampled_from(("0" * 32, "1" * 32, "x")), lambda each, said: each["user_id"] == said
    ),
    "metadata": Filter(
        st.dictionaries(st.sampled_from("ab"), texts, max_size=2).map(repr),
        # What the test has written itself.
        lambda each, said: eval(said).items() <= each["metadata"].items(),
    ),
    "created_at": moments("created_at"),
    "updated_at": moments("updated_at"),
    "unheard-of": Filter(st.just("x"), lambda each, said: True),
}
SORT_KEYS = {
    "id": "uuid", "status": "shown", "size": "size_gib", "availability_zone": "zone_shown",
    "name": "name", "display_name": "name", "bootable": "bootable", "created_at": "created_at",
    "updated_at": "updated_at",
}  # fmt: skip


class Asked(NamedTuple):
    """A request for a list."""

    admin: bool
    everywhere: bool
    minor: int
    detail: bool
    filters: dict[str, str]
    order: list[tuple[str, str]]
    limit: int
    marker: int


REQUESTS = st.builds(
    Asked,
    admin=st.booleans(),
    everywhere=st.booleans(),
    minor=st.sampled_from((0, 33, 34, 44, 45, 59, 60, 71)),
    detail=st.booleans(),
    filters=st.lists(st.sampled_from(sorted(FILTERS)), max_size=2, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: FILTERS[name].values for name in names})
    ),
    order=st.lists(
        st.tuples(st.sampled_from(sorted(SORT_KEYS)), st.sampled_from(("asc", "desc", ""))),
        max_size=3,
        unique_by=lambda pair: SORT_KEYS[pair[0]],
    ),
    limit=st.integers(1, 4),
    marker=st.integers(0, MOST),
)


def wanted_of(volumes: list[Any], asked: Asked, projects: list[str]) -> list[Any]:
    """What is listed, in order."""
    found = [each for each in volumes if not each["local"] and each["status"] != "deleted"]
    if not (asked.admin and asked.everywhere):
        mine = projects[2] if asked.admin else projects[0]
        found = [each for each in found if each["project_id"] == mine]
    for name, said in asked.filters.items():
        known = FILTERS[name]
        if asked.minor >= known.first:
            found = [each for each in found if known.fits(each, said)]
    keys = [(SORT_KEYS[key], way or "desc") for key, way in asked.order] or [("created_at", "desc")]
    last = keys[-1][1]
    members = {member for member, _ in keys}
    if not members & {"created_at", "uuid"}:
        keys.append(("created_at", last))
    found.sort(key=lambda each: each["id"], reverse=last == "desc")
    for member, way in reversed(keys):
        found.sort(key=lambda each: _comparable(each[member]), reverse=way == "desc")
    return found


def _comparable(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value


async def fill(database: Any, made: list[Any], projects: list[str]) -> list[Any]:
    """Write volumes into the database in place of those that are there."""
    rows, pairs, found = [], [], []
    for number, each in enumerate(made):
        facts = {
            "id": number + 1,
            "uuid": IDS[number],
            "project_id": projects[each["project"]],
            "user_id": str(each["user"]) * 32,
            "created_at": at(each["created"]),
            "updated_at": at(each["updated"]),
        }
        rows.append(
            {
                **facts,
                **{key: each[key] for key in ("name", "status", "size_gib", "bootable", "local")},
                "availability_zone": each["zone"],
                "volume_type_id": 1,
                "shared_to_project": False,
                "delete_on_termination": False,
                "initialised": False,
                "snapshot_counter": 0,
                "deleted_at": at(3) if each["status"] == "deleted" else None,
            }
        )
        pairs += [
            {"volume_id": number + 1, "key": key, "value": value}
            for key, value in each["metadata"].items()
        ]
        shown = STATUSES[each["status"]]
        found.append({**each, **facts, "shown": shown, "zone_shown": each["zone"] or "nova"})

    async def work(tx: Any) -> None:
        await tx.run("delete from volume")
        await put(tx, "volume", rows)
        if pairs:
            await tx.run(
                "insert into volume_metadata select * from unnest(%s::bigint[], %s::text[],"
                " %s::text[])",
                ([each["volume_id"] for each in pairs], [each["key"] for each in pairs],
                 [each["value"] for each in pairs]),
            )  # fmt: skip

    await database.transaction(work)
    return found


async def test_every_list_is_what_the_model_says(wire: Any, stranger: Any, admin: Any) -> None:
    """Whole and page by page, by links and from any marker."""
    projects = [each.project_id for each in (wire.who, stranger, admin)]

    async def ask(asked: Asked, path: str) -> Any:
        who = admin if asked.admin else wire.who
        return await wire.get(path, version=f"3.{asked.minor}", who=who)

    def path_of(asked: Asked, more: list[tuple[str, str]]) -> str:
        query = list(asked.filters.items()) + more
        if asked.everywhere:
            query.append(("all_tenants", "1"))
        if asked.order:
            words = [f"{key}:{way}" if way else key for key, way in asked.order]
            query.append(("sort", ",".join(words)))
        return f"/volumes{'/detail' if asked.detail else ''}?{urlencode(query)}"

    async def compare(asked: Asked, volumes: list[Any]) -> None:
        wanted = [each["uuid"] for each in wanted_of(volumes, asked, projects)]
        whole = await ask(asked, path_of(asked, [("with_count", "True")]))
        assert whole.status == 200, (asked, whole.body)
        there = whole.json
        same(asked, [each["id"] for each in there["volumes"]], wanted)
        assert there.get("count") == (len(wanted) if asked.minor >= 45 else None)
        names = {each["uuid"]: each["name"] for each in volumes}
        assert [each["name"] for each in there["volumes"]] == [names[each] for each in wanted]
        paged, path = [], path_of(asked, [("limit", str(asked.limit))])
        while path:
            page = (await ask(asked, path)).json
            assert len(page["volumes"]) <= asked.limit
            paged += [each["id"] for each in page["volumes"]]
            (link,) = page.get("volumes_links") or [None]
            url = None if link is None else urlsplit(link["href"])
            path = "" if url is None else f"{url.path.removeprefix('/volume/v3')}?{url.query}"
        same(asked, paged, wanted)
        offset = await ask(asked, path_of(asked, [("offset", str(asked.limit))]))
        same(asked, [each["id"] for each in offset.json["volumes"]], wanted[asked.limit :])
        if asked.marker < len(wanted):
            after = await ask(asked, path_of(asked, [("marker", wanted[asked.marker])]))
            rest = wanted[asked.marker + 1 :]
            same(asked, [each["id"] for each in after.json["volumes"]], rest)

    async def check(made: list[Any], asked: list[Asked]) -> None:
        volumes = await fill(wire.database, made, projects)
        for each in asked:
            await compare(each, volumes)

    await for_many(check, VOLUMES, st.lists(REQUESTS, min_size=1, max_size=3))


async def test_what_a_list_cannot_understand_is_400(wire: Any) -> None:
    """Never a fault of ours."""
    for query in (
        "limit=x", "limit=-1", "offset=x", "offset=" + "9" * 20, "sort=x", "sort=name:up", "sort=",
        "sort=name&sort_key=name", "sort_key=x", "sort_dir=x", "bootable=x", "metadata=x",
        "metadata=%5B1%5D", "metadata=%7B'a'%3A'%5Cud800'%7D", "metadata=%7B'a'%3A'%5C0'%7D",
        "metadata=" + "(" * 3000, "created_at=x", "updated_at=gt:x", "name=%00", "name=%ff",
    ):  # fmt: skip
        answer = await wire.get(f"/volumes?{query}")
        assert answer.fault(400, "badRequest"), query
    for marker in ("x", "00000000-0000-4000-8000-000000000000"):
        (await wire.get(f"/volumes?marker={marker}")).fault(404, "itemNotFound")
    assert (await wire.get("/volumes?nonsense=1&limit=0")).json == {"volumes": []}
    assert (await wire.get("/volumes?sort_key=name&sort_dir=asc")).status == 200


async def test_pages_name_the_address_that_users_see(wire: Any) -> None:
    """With what was asked for, and the project where it stood in the path."""
    for name in ("a", "b"):
        await wire.volume(name=name)
    path = f"/{wire.who.project_id}/volumes?limit=1&sort=name:asc"
    page = (await wire.get(path)).json
    (link,) = page["volumes_links"]
    start = f"https://cloud.example.org/volume/v3/{wire.who.project_id}/volumes?"
    assert link["href"].startswith(start)
    assert link["href"].endswith(f"marker={page['volumes'][0]['id']}")
