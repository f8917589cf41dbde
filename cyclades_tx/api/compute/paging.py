"""Pages of lists: how many, after which one, and where the next page is."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from cyclades_tx.api.call import Call
from cyclades_tx.errors import BadRequest

#: The longest page.
MOST = 1000

_NUMBER = re.compile("[0-9]{1,18}", re.ASCII)


def number(call: Call, name: str) -> int | None:
    """A query parameter that is a whole number of at least 0, or None.

    :raise BadRequest: when it is something else.
    """
    text = call.query(name)
    if text is None:
        return None
    if _NUMBER.fullmatch(text) is None:
        raise BadRequest(
            f"Invalid input for query parameters {name}. Value: {text}. It must be a whole "
            "number of at least 0."
        )
    return int(text)


def limit(call: Call) -> int:
    """How many things a page has at most."""
    asked = number(call, "limit")
    return MOST if asked is None else min(asked, MOST)


def next_url(call: Call) -> str:
    """The URL of the next page, as far as the marker that is still to be added to it."""
    pairs = [
        (name, value)
        for name, values in call.request.args.items()
        if name != b"marker"
        for value in values
    ]
    path = call.request.path.decode("latin-1")
    query = urlencode(pairs)
    return f"{call.base_url}{path}?{query}{'&' if query else ''}marker="


def list_text(key: str, links_key: str | None = None) -> str:
    """The SQL of ``{"KEY": […], "LINKS_KEY": […]}`` over the rows of ``page`` and ``items``.

    ``page`` has one row more than ``given.most`` when there is more; ``place`` counts its rows
    from 1 and ``marker`` names each. ``items`` has the texts of those that are shown.
    """
    links = links_key or f"{key}_links"
    return (
        f"select '{{\"{key}\": [' || coalesce(string_agg(items.item, ', ' order by items.place),"
        f' \'\') || \']\' || coalesce((select \', "{links}": [{{"rel": "next", "href": \' ||'
        " to_json(given.link || page.marker)::text || '}]' from given, page"
        " where page.place = given.most"
        " and exists (select 1 from page as more where more.place > given.most)), '')"
        " || '}' from items"
    )
