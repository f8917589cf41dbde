"""Network's pages: how long one gets, and that nothing is lost between two."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest

from cyclades_tx.api.network.app import VERSION
from cyclades_tx.api.network.listing import MOST_SHOWN
from cyclades_tx.model.who import Who
from cyclades_tx.testing.network_builders import a_member, a_network

MORE = 3


async def many_networks(database: Any, who: Who, count: int) -> None:
    """Networks of somebody's, written by PostgreSQL at once."""
    await database.run(
        "insert into network (name, project_id, flavor, mode, link, mac_prefix)"
        " select 'n' || n, %s, 'CUSTOM', 'bridged', 'br0', 'aa:00:0'"
        " from generate_series(1, %s) n",
        (who.project_id, count),
    )


async def pages(network: Any, who: Who, target: str, plural: str, rel: str = "next") -> Any:
    """The things of each page, from one page on by its links."""
    found = []
    while target:
        answer = await network.ask(target, who)
        assert answer.status == 200, answer.body
        found.append(answer.json[plural])
        links = {link["rel"]: link["href"] for link in answer.json.get(f"{plural}_links", [])}
        parts = urlsplit(links.get(rel, ""))
        target = f"{parts.path}?{parts.query}" if parts.query else ""
    return found


@pytest.mark.parametrize("query", ["", "?limit=0", "?limit=99999", "?sort_key=name&sort_dir=asc"])
async def test_a_list_of_many_goes_on_behind_a_link(
    network: Any, database: Any, query: str
) -> None:
    """Whether or not pages were asked for: no answer is longer than a page."""
    who = await a_member(database)
    await many_networks(database, who, MOST_SHOWN + MORE)
    first, second = await pages(network, who, f"{VERSION}/networks{query}", "networks")
    assert (len(first), len(second)) == (MOST_SHOWN, MORE)
    assert len({each["id"] for each in [*first, *second]}) == MOST_SHOWN + MORE


async def test_a_list_that_fits_has_no_links(network: Any, database: Any) -> None:
    """A full page too, unless pages were asked for."""
    who = await a_member(database)
    await many_networks(database, who, MOST_SHOWN)
    answer = await network.ask(f"{VERSION}/networks", who)
    assert list(answer.json) == ["networks"]
    assert len(answer.json["networks"]) == MOST_SHOWN


@pytest.mark.parametrize("way", ["asc", "desc"])
async def test_pages_by_an_attribute_that_some_have_not(
    network: Any, database: Any, way: str
) -> None:
    """Null is the least value; the pages back are those forth."""
    who = await a_member(database)
    for number in range(5):
        await a_network(database, who, f"10.0.{number}.0/24")
    await database.run(
        "update subnet set gateway = null where cidr in ('10.0.1.0/24', '10.0.3.0/24')"
    )
    target = f"{VERSION}/subnets?sort_key=gateway_ip&sort_dir={way}&limit=2"
    forth = await pages(network, who, target, "subnets")
    shown = [each["gateway_ip"] for page in forth for each in page]
    gateways = [None, None, "10.0.0.1", "10.0.2.1", "10.0.4.1"]
    assert shown == (gateways if way == "asc" else gateways[::-1])
    last = forth[-1][-1]["id"]
    back = await pages(
        network, who, f"{target}&page_reverse=True&marker={last}", "subnets", "previous"
    )
    everything = [each["id"] for page in forth for each in page]
    assert [each["id"] for page in back[::-1] for each in page] == everything[:-1]


async def test_a_page_mixes_own_networks_and_those_of_all(network: Any, database: Any) -> None:
    """In the order of making, each once, whoever made it."""
    who, other = await a_member(database), await a_member(database)
    names = []
    for number in range(7):
        owner = (who, None, other)[number % 3]
        await a_network(database, owner, name=f"n{number}", shared=owner is None)
        if owner is not other:
            names.append(f"n{number}")
    found = await pages(network, who, f"{VERSION}/networks?limit=2", "networks")
    assert [[each["name"] for each in page] for page in found] == [names[:2], names[2:4], names[4:]]
