"""Documents as declared tables of members: SQL, JSON schema and OpenAPI come from one place.

A document is written by PostgreSQL: :meth:`Document.text` gives the SQL expression (of type
``text``) that writes it for one microversion and role, and the bytes are passed through. There
is one statement text, hence one prepared statement, per distinct set of members.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

#: PostgreSQL functions take 100 arguments; a pair is two.
_PAIRS_PER_CALL = 45


@dataclass(frozen=True)
class Member:
    """One property of a document.

    :param name: its JSON name.
    :param sql: the expression of its value; anything that ``json_build_object`` takes.
    :param schema: its JSON schema.
    :param first: the first microversion (minor number) that has it.
    :param last: the last one that has it, or None.
    :param admin: whether only administrators see it.
    :param when: an SQL condition; where it is false the property is left out.
    """

    name: str
    sql: str
    schema: dict[str, Any] = field(default_factory=dict, hash=False, compare=False)
    first: int = 0
    last: int | None = None
    admin: bool = False
    when: str | None = None

    def shown(self, minor: int, admin: bool) -> bool:
        """Whether the document of this microversion and role has the member."""
        return (
            self.first <= minor
            and (self.last is None or minor <= self.last)
            and (admin or not self.admin)
        )


class Document:
    """A JSON object that a service shows.

    :param name: its name in the OpenAPI document.
    :param members: its properties, in the order of writing. Several members may share a name
        when their microversions do not overlap.
    """

    def __init__(self, name: str, members: Iterable[Member]) -> None:
        self.name = name
        self.members = tuple(members)

    def shown(
        self, minor: int = 0, admin: bool = False, fields: frozenset[str] | None = None
    ) -> tuple[Member, ...]:
        """The members of one microversion and role, limited to ``fields`` if given."""
        return tuple(
            member
            for member in self.members
            if member.shown(minor, admin) and (fields is None or member.name in fields)
        )

    @lru_cache(maxsize=1024)  # noqa: B019 - documents live as long as the process
    def text(
        self, minor: int = 0, admin: bool = False, fields: frozenset[str] | None = None
    ) -> str:
        """The SQL expression of type ``text`` that writes the document.

        :param fields: only these members (Network's ``fields=``); None: all.
        """
        shown = self.shown(minor, admin, fields)
        always = [member for member in shown if member.when is None]
        sometimes = [member for member in shown if member.when is not None]
        pieces: list[str] = []
        for start in range(0, len(always), _PAIRS_PER_CALL):
            pairs = ", ".join(
                f"'{_quoted(member.name)}', {member.sql}"
                for member in always[start : start + _PAIRS_PER_CALL]
            )
            body = f"json_build_object({pairs})::text"
            # Without the last brace; the pieces after the first also lose the opening one.
            cut = f"left({body}, -1)"
            pieces.append(f"', ' || substr({cut}, 2)" if pieces else cut)
        if not pieces:
            return "'{}'"
        for member in sometimes:
            pieces.append(
                f"case when {member.when} then ', \"{_quoted(member.name)}\" : ' || "
                f"coalesce(to_json({member.sql})::text, 'null') else '' end"
            )
        if len(pieces) == 1:
            return body
        return "(" + " || ".join(pieces) + " || '}')"

    def schema(self, minor: int = 0, admin: bool = False) -> dict[str, Any]:
        """The JSON schema of one microversion and role: no property but these."""
        shown = self.shown(minor, admin)
        return {
            "type": "object",
            "properties": {member.name: member.schema for member in shown},
            "required": sorted({member.name for member in shown if member.when is None}),
            "additionalProperties": False,
        }


def _quoted(text: str) -> str:
    return text.replace("'", "''").replace("%", "%%")


def one(key: str, text: str) -> str:
    """The SQL expression of ``{"key": DOCUMENT}``."""
    return f"'{{\"{_quoted(key)}\": ' || {text} || '}}'"


def many(column: str, order: str) -> str:
    """The SQL aggregate of ``[DOCUMENT, …]`` over rows whose text is in ``column``."""
    return f"'[' || coalesce(string_agg({column}, ', ' order by {order}), '') || ']'"
