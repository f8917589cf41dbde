"""Lists of Network against plain models: what is filtered, sorted, cut into pages, and shown.

A thing of a model is its document, as far as the model knows it; what begins with an underscore
is not shown. Things are in the order in which they were made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from hypothesis import strategies as st

from cyclades_tx.api.network.app import VERSION
from cyclades_tx.model.who import ADMIN, Who
from cyclades_tx.testing import builders
from tests.api.listing import ODD_TEXTS, at, for_many, minutes, same, second, texts

Thing = dict[str, Any]
TAGS = ("red", "blue", "a b", "Ω")

#: What everything has, as it is generated.
COMMON = {
    "name": texts,
    "description": texts,
    "created": minutes,
    "updated": minutes,
    "revision": st.integers(1, 3),
    "tags": st.frozensets(st.sampled_from(TAGS)),
    "mine": st.booleans(),
}


class Filter(NamedTuple):
    """A filter: values as they stand in a URL, and what fits some of them."""

    values: st.SearchStrategy[str]
    fits: Callable[[Thing, list[str]], bool]


def equal(member: str, *values: str) -> Filter:
    """A filter by a text that is shown; null fits nothing."""
    return Filter(st.sampled_from(values or ODD_TEXTS), lambda thing, said: thing[member] in said)


def number(member: str, *values: int) -> Filter:
    """A filter by a number."""
    return Filter(
        st.sampled_from([str(value) for value in values]),
        lambda thing, said: str(thing[member]) in said,
    )


def boolean(member: str) -> Filter:
    """A filter by a truth value, in any writing."""
    words = {"true": True, "True": True, "1": True, "yes": True}
    words |= {"false": False, "False": False, "0": False, "no": False}
    return Filter(
        st.sampled_from(sorted(words)),
        lambda thing, said: thing[member] in {words[word] for word in said},
    )


def tags() -> dict[str, Filter]:
    """The four filters by tag."""
    values = st.lists(st.sampled_from((*TAGS, "no")), min_size=1, max_size=2).map(",".join)

    def split(said: list[str]) -> set[str]:
        return {tag for text in said for tag in text.split(",")}

    return {
        "tags": Filter(values, lambda thing, said: split(said) <= set(thing["tags"])),
        "tags-any": Filter(values, lambda thing, said: bool(split(said) & set(thing["tags"]))),
        "not-tags": Filter(values, lambda thing, said: not split(said) <= set(thing["tags"])),
        "not-tags-any": Filter(values, lambda thing, said: not split(said) & set(thing["tags"])),
    }


def common_filters(ids: Sequence[str]) -> dict[str, Filter]:
    """The filters by what everything has."""
    moments = [second(at(minute)) for minute in range(4)]
    return {
        "id": equal("id", *ids, "no id"),
        "name": equal("name"),
        "description": equal("description"),
        "created_at": equal("created_at", *moments),
        "updated_at": equal("updated_at", *moments),
        "revision_number": number("revision_number", 1, 2, 7),
        **tags(),
    }


class People(NamedTuple):
    """Who owns the generated things, and who asks."""

    me: Who
    other: Who
    admin: Who

    def owner(self, mine: bool) -> str:
        """The project that something is of."""
        return (self.me if mine else self.other).project_id or ""


async def people(database: Any) -> People:
    """A member, another one, and an administrator, each of a project of its own."""
    return People(
        await builders.somebody(database),
        await builders.somebody(database),
        await builders.somebody(database, ADMIN),
    )


def shown(made: Mapping[str, Any], uuid: str, project_id: str) -> Thing:
    """What every document has."""
    return {
        "id": uuid,
        "name": made["name"],
        "description": made["description"],
        "tenant_id": project_id,
        "project_id": project_id,
        "created_at": second(at(made["created"])),
        "updated_at": second(at(made["updated"])),
        "revision_number": made["revision"],
        "tags": sorted(made["tags"], key=str.encode),
    }


def columns(made: Mapping[str, Any], row_id: int, uuid: str) -> dict[str, Any]:
    """What every row has."""
    return {
        "id": row_id,
        "uuid": uuid,
        "name": made["name"],
        "description": made["description"],
        "revision": made["revision"],
        "created_at": at(made["created"]),
        "updated_at": at(made["updated"]),
    }


@dataclass(frozen=True)
class Model:
    """One collection.

    :ivar people: who asks.
    :ivar fill: replaces what is in the database; the things as they should be shown.
    :ivar sees: whether somebody (an administrator or not) sees a thing.
    """

    plural: str
    people: People
    made: st.SearchStrategy[Any]
    filters: Mapping[str, Filter]
    sort_keys: Sequence[str]
    fill: Callable[[Any], Awaitable[list[Thing]]]
    sees: Callable[[Thing, bool], bool]


class Asked(NamedTuple):
    """A request for a list."""

    admin: bool
    filters: Mapping[str, list[str]]
    order: Sequence[tuple[str, str]]
    limit: int
    marker: int
    reverse: bool
    fields: Sequence[str]


def requests(model: Model) -> st.SearchStrategy[Asked]:
    """Requests of every kind; seldom more than two filters, or nothing would be found."""

    def filters(names: list[str]) -> st.SearchStrategy[Mapping[str, list[str]]]:
        return st.fixed_dictionaries(
            {name: st.lists(model.filters[name].values, min_size=1, max_size=3) for name in names}
        )

    names = st.lists(st.sampled_from(sorted(model.filters)), max_size=2, unique=True)
    pairs = st.tuples(st.sampled_from(model.sort_keys), st.sampled_from(("asc", "desc")))
    return st.builds(
        Asked,
        admin=st.booleans(),
        filters=names.flatmap(filters),
        order=st.lists(pairs, max_size=3, unique_by=lambda pair: pair[0]),
        limit=st.integers(1, 4),
        marker=st.integers(0, 7),
        reverse=st.booleans(),
        fields=st.lists(st.sampled_from(("id", "name", "revision_number", "no")), max_size=2),
    )


def ordered(things: Sequence[Thing], order: Sequence[tuple[str, str]]) -> list[Thing]:
    """Things in the order that was asked for, null first; what is left open is as it was made."""
    found = list(things)
    for key, way in reversed(order):
        # Also a reversed sort keeps equal things as they were.
        found.sort(
            key=lambda thing: (thing[key] is not None, _comparable(thing[key])),
            reverse=way == "desc",
        )
    return found


def _comparable(value: Any) -> Any:
    # As PostgreSQL compares texts here: by their bytes.
    return value.encode() if isinstance(value, str) else value if value is not None else 0


async def check_model(wire: Any, model: Model) -> None:
    """Compare lists with a model, over many sets of things and many requests."""

    async def check(made: Any, asked: Sequence[Asked]) -> None:
        things = await model.fill(made)
        for each in asked:
            await _compare(wire, model, things, each)

    await for_many(check, model.made, st.lists(requests(model), min_size=2, max_size=2))


async def _compare(wire: Any, model: Model, things: list[Thing], asked: Asked) -> None:
    seen = [thing for thing in things if model.sees(thing, asked.admin)]
    wanted = [
        thing
        for thing in ordered(seen, asked.order)
        if all(model.filters[name].fits(thing, said) for name, said in asked.filters.items())
    ]
    asker = Asker(wire, model, asked)
    (whole,) = await asker.walk([], "next")
    same(asked, _known(whole, wanted), [_public(thing) for thing in wanted])
    ids = [thing["id"] for thing in wanted]
    pages = [ids[start : start + asked.limit] for start in range(0, len(ids), asked.limit)]
    limit = ("limit", str(asked.limit))
    same(asked, _ids(await asker.walk([limit], "next")), pages or [[]])
    if not seen:
        return
    # From a marker, which need not be among what is wanted.
    marker = seen[asked.marker % len(seen)]
    by_place = [thing["id"] for thing in ordered(seen, asked.order)]
    place = by_place.index(marker["id"])
    before = [uuid for uuid in ids if by_place.index(uuid) < place]
    after = [uuid for uuid in ids if by_place.index(uuid) > place]
    reversed_ = ("page_reverse", "True" if asked.reverse else "False")
    rest = await asker.walk(
        [limit, ("marker", marker["id"]), reversed_], "previous" if asked.reverse else "next"
    )
    if asked.reverse:
        same(asked, [uuid for page in reversed(_ids(rest)) for uuid in page], before)
    else:
        same(asked, [uuid for page in _ids(rest) for uuid in page], after)
    if asked.fields:
        (some,) = await asker.walk([("fields", name) for name in asked.fields], "next")
        kept = set(asked.fields) & set(things[0])
        same(asked, some, [{name: thing[name] for name in kept} for thing in wanted])


class Asker:
    """Asks for a list again and again.

    :ivar rest: what every request says of filters and order.
    """

    def __init__(self, wire: Any, model: Model, asked: Asked) -> None:
        self._wire = wire
        self._model = model
        self._who = model.people.admin if asked.admin else model.people.me
        self._rest = [(name, text) for name, said in asked.filters.items() for text in said]
        for key, way in asked.order:
            self._rest += [("sort_key", key), ("sort_dir", way)]

    async def walk(self, more: list[tuple[str, str]], rel: str) -> list[list[Thing]]:
        """The pages from here on, by the links of one kind; without pages asked for it is one."""
        path = f"{VERSION}/{self._model.plural.replace('_', '-')}?{urlencode([*self._rest, *more])}"
        pages: list[list[Thing]] = []
        while True:
            answer = await self._wire.ask(path, self._who)
            assert answer.status == 200, (path, answer.body)
            document = answer.json
            pages.append(document.pop(self._model.plural))
            assert len(pages) < 50
            links = {
                link["rel"]: link["href"]
                for link in document.pop(f"{self._model.plural}_links", ())
            }
            assert not document
            if rel not in links:
                return pages
            parts = urlsplit(links[rel])
            path = f"{parts.path}?{parts.query}"


def _public(thing: Thing) -> Thing:
    return {name: value for name, value in thing.items() if not name.startswith("_")}


def _known(page: list[Thing], wanted: list[Thing]) -> list[Thing]:
    """What the model knows of documents."""
    names = set(_public(wanted[0])) if wanted else set()
    return [{name: value for name, value in thing.items() if name in names} for thing in page]


def _ids(pages: list[list[Thing]]) -> list[list[str]]:
    return [[thing["id"] for thing in page] for page in pages]
