"""Lists of servers are what a plain model says: filters, order, pages, who sees what."""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from hypothesis import strategies as st

from tests.api.compute.listed_servers import SITUATIONS, a_site, fill
from tests.api.listing import at, for_many, minutes, same, second, texts, uuid_of

MOST = 7
IDS = [uuid_of("server", number) for number in range(MOST)]
TAGS = ("x", "y", "z")

SERVERS = st.lists(
    st.fixed_dictionaries(
        {
            "name": texts.filter(bool),
            "hostname": texts,
            "description": st.none() | texts,
            "situation": st.sampled_from(sorted(SITUATIONS)),
            "created": minutes,
            "updated": minutes,
            "launched": st.none() | minutes,
            "key_name": st.sampled_from((None, "k1", "K1", "k2")),
            "zone": st.sampled_from((None, "c1", "c2")),
            "node": st.sampled_from((None, "n1", "n2")),
            "flavor": st.integers(0, 1),
            "image": st.sampled_from((None, 0, 1)),
            "locked": st.booleans(),
            "drive": st.booleans(),
            "tags": st.frozensets(st.sampled_from(TAGS)),
            "addresses": st.frozensets(st.sampled_from(("one", "twelve", "six"))),
            "project": st.sampled_from((0, 0, 0, 1)),
        }
    ),
    max_size=MOST,
)

#: What people look for, and the expression that it is; None: only itself.
PATTERNS = {
    "a": "a", "b": "b", "%": None, "Ω": None, "'": None, "": None, "^a": "^a", "b$": "b$",
    "[aA]": "[aA]", "a|B": "a|B", "^.$": "^.$", "a.b": "a.b", "a+b": "a+b", "^$": "^$", ".*": ".*",
    "\\\\": "\\\\", "(": None, "[": None, "\\": None, "*a": None, "a{1}": None, "(?i)A": None,
}  # fmt: skip
ADDRESSES = {
    "10.0.1": "10.0.1", "^10\\.0\\.[0-2]\\.": "^10\\.0\\.[0-2]\\.", "1$": "1$", "fd00": "fd00",
    "(": None,
}  # fmt: skip


class Filter(NamedTuple):
    """A filter: its values, and what fits those that were given.

    :ivar first: the microversion below which it is without effect.
    :ivar admin: whether it is, for others than administrators.
    """

    values: st.SearchStrategy[str]
    fits: Any
    first: int = 0
    admin: bool = False


def like(member: str) -> Filter:
    """A filter by a regular expression."""
    return Filter(
        st.sampled_from(sorted(PATTERNS)),
        lambda each, said: _like(PATTERNS, each[member], said[-1]),
    )


def address(mark: str) -> Filter:
    """A filter by an address of one version."""
    return Filter(
        st.sampled_from(sorted(ADDRESSES)),
        lambda each, said: any(
            mark in address and _like(ADDRESSES, address, said[-1]) for address in each["addresses"]
        ),
    )


def _like(patterns: dict[str, str | None], text: str | None, said: str) -> bool:
    text, pattern = text or "", patterns[said]
    return said in text or (pattern is not None and re.search(pattern, text, re.DOTALL) is not None)


def equal(member: str, *values: str, admin: bool = False) -> Filter:
    """A filter by what is shown."""
    return Filter(
        st.sampled_from(values), lambda each, said: str(each[member]) in said, admin=admin
    )


def truth(member: str, first: int = 0) -> Filter:
    """A filter by a truth value."""
    words = {"true": True, "1": True, "False": False, "no": False}
    return Filter(
        st.sampled_from(sorted(words)), lambda each, said: each[member] == words[said[-1]], first
    )


def tagged(fits: Any) -> Filter:
    """A filter by tags."""
    values = st.lists(st.sampled_from((*TAGS, "no")), min_size=1, max_size=2).map(",".join)

    def split(said: list[str]) -> set[str]:
        return {tag for text in said for tag in text.split(",")}

    return Filter(values, lambda each, said: fits(split(said), each["tags"]), 26)


FILTERS = {
    "name": like("name"),
    "hostname": like("hostname"),
    "description": like("description"),
    "ip": address("."),
    "ip6": address(":"),
    "status": equal("status", "ACTIVE", "SHUTOFF", "BUILD", "SUSPENDED", "REBUILD", "NONSENSE"),
    "vm_state": equal("vm_state", "active", "stopped", "suspended", "no"),
    "task_state": equal("task_state", "deleting", "powering-off", "no"),
    "power_state": equal("power_state", "0", "1", "4", "x"),
    "key_name": equal("key_name", "k1", "K1", "no"),
    "availability_zone": equal("zone_shown", "c1", "nova"),
    "node": equal("node", "n1", "n2", admin=True),
    "host": equal("node", "n1", "no", admin=True),
    "flavor": equal("flavor", uuid_of("flavor", 0), "no"),
    "image": equal("image", uuid_of("image", 0), "no"),
    "uuid": equal("uuid", *IDS[:3]),
    "user_id": equal("user_id", "0" * 32, "1" * 32),
    "reservation_id": equal("reservation_id", "r-0", "r-1"),
    "locked": truth("locked", first=73),
    "config_drive": truth("config_drive"),
    "tags": tagged(lambda said, tags: said <= tags),
    "tags-any": tagged(lambda said, tags: bool(said & tags)),
    "not-tags": tagged(lambda said, tags: not said <= tags),
    "not-tags-any": tagged(lambda said, tags: not said & tags),
    "changes-since": Filter(
        st.sampled_from([at(minute).isoformat() for minute in range(4)]),
        lambda each, said: each["updated_at"].isoformat() >= said[-1],
    ),
    "changes-before": Filter(
        st.sampled_from([at(minute).isoformat() for minute in range(4)]),
        lambda each, said: each["updated_at"].isoformat() <= said[-1],
        66,
    ),
    "unheard-of": Filter(st.just("x"), lambda each, said: True),
}
SORT_KEYS = {
    "availability_zone": "zone", "config_drive": "config_drive", "created_at": "created_at",
    "display_description": "description", "display_name": "name", "hostname": "hostname",
    "image_ref": "image", "instance_type_id": "flavor_id", "key_name": "key_name",
    "launched_at": "launched_at", "power_state": "power_state", "project_id": "project_id",
    "updated_at": "updated_at", "user_id": "user_id", "uuid": "uuid",
    "vm_state": "vm_state",
}  # fmt: skip


class Asked(NamedTuple):
    """A request for a list."""

    admin: bool
    everywhere: bool
    deleted: str | None
    minor: int
    detail: bool
    filters: dict[str, list[str]]
    order: list[tuple[str, str]]
    limit: int
    marker: int

    @property
    def senseless(self) -> bool:
        """Whether it asks for changes after some time and before an earlier one."""
        since, before = (self.filters.get(f"changes-{word}") for word in ("since", "before"))
        return bool(since and before and self.minor >= 66 and since[-1] > before[-1])


REQUESTS = st.builds(
    Asked,
    admin=st.booleans(),
    everywhere=st.booleans(),
    deleted=st.sampled_from((None, None, "True", "false")),
    minor=st.sampled_from((1, 25, 26, 65, 66, 72, 73, 96)),
    detail=st.booleans(),
    filters=st.lists(st.sampled_from(sorted(FILTERS)), max_size=2, unique=True).flatmap(
        lambda names: st.fixed_dictionaries(
            {name: st.lists(FILTERS[name].values, min_size=1, max_size=2) for name in names}
        )
    ),
    order=st.lists(
        st.tuples(st.sampled_from(sorted(SORT_KEYS)), st.sampled_from(("asc", "desc"))),
        max_size=3,
        unique_by=lambda pair: pair[0],
    ),
    limit=st.integers(1, 4),
    marker=st.integers(0, MOST),
)


def seen(servers: list[Any], asked: Asked, projects: list[str]) -> list[Any]:
    """What is listed without filters."""
    mine = projects[2] if asked.admin else projects[0]
    if asked.admin and asked.everywhere:
        found = servers
    else:
        found = [each for each in servers if each["project_id"] == mine]
    changes = "changes-since" in asked.filters
    changes = changes or ("changes-before" in asked.filters and asked.minor >= 66)
    if asked.admin and asked.deleted is not None:
        gone = asked.deleted == "True"
        return [each for each in found if (each["vm_state"] == "deleted") == gone]
    return [each for each in found if changes or each["vm_state"] != "deleted"]


def ordered(servers: list[Any], order: list[tuple[str, str]]) -> list[Any]:
    """In the order that was asked for, then by age, then as they were made; null comes first."""
    keys = list(order) or [("created_at", "desc")]
    first_way = keys[0][1]
    if all(key != "created_at" for key, _ in keys):
        keys.append(("created_at", first_way))
    found = list(servers) if first_way == "asc" else servers[::-1]
    for key, way in reversed(keys):
        member = SORT_KEYS[key]
        found.sort(
            key=lambda each: (each[member] not in (None, ""), _comparable(each[member])),
            reverse=way == "desc",
        )
    return found


def _comparable(value: Any) -> Any:
    return 0 if value in (None, "") else value.encode() if isinstance(value, str) else value


async def test_every_list_is_what_the_model_says(wire: Any, stranger: Any, admin: Any) -> None:
    """Whole and page by page, by links and from any marker."""
    projects = [each.project_id for each in (wire.who, stranger, admin)]
    site = await a_site(wire.database, projects)

    async def check(made: list[Any], asked: list[Asked]) -> None:
        servers = await fill(wire.database, site, made)
        for each in asked:
            if each.senseless:
                (await ask(each, path_of(each, []))).fault(400, "badRequest")
            else:
                await compare(each, servers)

    async def ask(asked: Asked, path: str) -> Any:
        who = admin if asked.admin else wire.who
        return await wire.get(path, version=f"2.{asked.minor}", who=who)

    async def compare(asked: Asked, servers: list[Any]) -> None:
        visible = ordered(servers, asked.order)
        listed = seen(visible, asked, projects)
        wanted = [server for server in listed if fits(server, asked)]
        whole = await walk(asked, [])
        assert len(whole) == 1
        same(asked, known(whole[0], asked), [document(server, asked) for server in wanted])
        ids = [server["uuid"] for server in wanted]
        pages = [ids[start : start + asked.limit] for start in range(0, len(ids), asked.limit)]
        limit = ("limit", str(asked.limit))
        paged = await walk(asked, [limit])
        same(asked, [[each["id"] for each in page] for page in paged], pages or [[]])
        # From a marker, which need not be in the list.
        own = [each for each in visible if asked.admin or each["project_id"] == projects[0]]
        if own:
            marker = own[asked.marker % len(own)]
            place = visible.index(marker)
            after = [each["uuid"] for each in wanted if visible.index(each) > place]
            rest = await walk(asked, [limit, ("marker", marker["uuid"])])
            same(asked, [each["id"] for page in rest for each in page], after)

    def path_of(asked: Asked, more: list[tuple[str, str]]) -> str:
        pairs = [(name, text) for name, said in asked.filters.items() for text in said] + more
        for key, way in asked.order:
            pairs += [("sort_key", key), ("sort_dir", way)]
        if asked.admin and asked.everywhere:
            pairs.append(("all_tenants", "1"))
        if asked.deleted is not None:
            pairs.append(("deleted", asked.deleted))
        return f"/servers{'/detail' if asked.detail else ''}?{urlencode(pairs)}"

    async def walk(asked: Asked, more: list[tuple[str, str]]) -> list[Any]:
        path = path_of(asked, more)
        pages: list[Any] = []
        while True:
            answer = await ask(asked, path)
            assert answer.status == 200, (path, answer.body)
            found = answer.json
            pages.append(found["servers"])
            assert len(pages) < 50
            if "servers_links" not in found:
                return pages
            ((rel, href),) = ((link["rel"], link["href"]) for link in found["servers_links"])
            assert rel == "next"
            parts = urlsplit(href)
            path = f"{parts.path.removeprefix('/compute/v2.1')}?{parts.query}"

    await for_many(check, SERVERS, st.lists(REQUESTS, min_size=2, max_size=2))


def fits(server: Any, asked: Asked) -> bool:
    """Whether a server passes every filter that has an effect."""
    return all(
        FILTERS[name].fits(server, said)
        for name, said in asked.filters.items()
        if asked.minor >= FILTERS[name].first and (asked.admin or not FILTERS[name].admin)
    )


def document(server: Any, asked: Asked) -> dict[str, Any]:
    """What is shown of a server, as far as the model knows it."""
    shown = {"id": server["uuid"], "name": server["name"]}
    if asked.detail:
        shown |= {
            "status": server["status"],
            "tenant_id": server["project_id"],
            "created": second(server["created_at"]),
            "updated": second(server["updated_at"]),
            "key_name": server["key_name"],
            "OS-EXT-STS:task_state": server["task_state"],
            "OS-EXT-STS:vm_state": server["vm_state"],
            "OS-EXT-STS:power_state": server["power_state"],
        }
    if asked.detail and asked.minor >= 26:
        shown["tags"] = sorted(server["tags"])
    return shown


def known(page: list[Any], asked: Asked) -> list[dict[str, Any]]:
    """What the model knows of documents."""
    example = {"tags": (), "project_id": "", "created_at": at(0), "updated_at": at(0)}
    names = document(dict.fromkeys((*_MEMBERS, "uuid"), "") | example, asked)
    return [{name: each[name] for name in names} for each in page]


_MEMBERS = ("name", "status", "key_name", "task_state", "vm_state", "power_state")
