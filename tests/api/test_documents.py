"""Documents as tables of members."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cyclades_tx.api.documents import Document, Member, many, one

TEXT = {"type": "string"}
DOCUMENT = Document(
    "Thing",
    (
        Member("id", "t.n", {"type": "integer"}),
        Member("old", "'o'", TEXT, last=5),
        Member("new", "'n'", TEXT, first=6),
        Member("host", "'h'", TEXT, admin=True),
        Member("maybe", "t.word", TEXT, when="t.word is not null"),
        Member("it's 100%", "'q'", TEXT),
    ),
)


async def written(database: Any, text: str, word: str | None = None) -> Any:
    """What PostgreSQL makes of an expression."""
    sql = f"select {text} as t from (select 1 as n, %s::text as word) as t"
    return json.loads(await database.value(sql, (word,)))


@pytest.mark.parametrize(
    ("minor", "admin", "word", "expected"),
    [
        (1, False, None, {"id": 1, "old": "o", "it's 100%": "q"}),
        (6, False, None, {"id": 1, "new": "n", "it's 100%": "q"}),
        (6, True, 'a"\\', {"id": 1, "new": "n", "host": "h", "it's 100%": "q", "maybe": 'a"\\'}),
    ],
)
async def test_a_document_has_the_members_of_its_version_and_reader(
    database: Any, minor: int, admin: bool, word: str | None, expected: dict[str, Any]
) -> None:
    """And its schema says the same."""
    assert await written(database, DOCUMENT.text(minor, admin), word) == expected
    schema = DOCUMENT.schema(minor, admin)
    assert set(expected) | {"maybe"} == set(schema["properties"])
    assert set(expected) - {"maybe"} == set(schema["required"])
    assert schema["additionalProperties"] is False


async def test_only_the_wanted_fields_are_written(database: Any) -> None:
    """None that is not there."""
    text = DOCUMENT.text(1, False, frozenset({"id", "host"}))
    assert await written(database, text) == {"id": 1}
    assert await written(database, DOCUMENT.text(1, False, frozenset({"x"}))) == {}


async def test_a_document_may_have_more_members_than_a_function_takes_arguments(
    database: Any,
) -> None:
    """PostgreSQL's limit is not ours."""
    large = Document("L", [Member(f"m{number}", f"{number}") for number in range(150)])
    assert await written(database, large.text()) == {f"m{n}": n for n in range(150)}


async def test_one_and_many(database: Any) -> None:
    """An object around one; a list, empty or not, around many."""
    assert await written(database, one("it's", DOCUMENT.text(1))) == {
        "it's": {"id": 1, "old": "o", "it's 100%": "q"}
    }
    for rows, expected in ((3, [1, 2, 3]), (0, [])):
        text = await database.value(
            f"select {many('n::text', 'n')} from generate_series(1, %s) as s (n)", (rows,)
        )
        assert json.loads(text) == expected
