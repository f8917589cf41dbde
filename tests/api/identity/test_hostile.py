"""Input that nobody means well with: always a 4xx in the service's shape, never a 500."""

from __future__ import annotations

import socket
from typing import Any

import orjson
import pytest
from twisted.internet.threads import deferToThread

ROLE = "a0000000000000000000000000000002"

#: Every endpoint that reads a body, and a body that it takes, with each of its properties.
BODIES: list[tuple[str, str, dict[str, Any]]] = [
    (
        "POST",
        "/v3/auth/tokens",
        {
            "auth": {
                "identity": {
                    "methods": ["password"],
                    "password": {
                        "user": {
                            "id": "x",
                            "name": "nobody",
                            "domain": {"id": "default", "name": "Default"},
                            "password": "x",
                        }
                    },
                    "token": {"id": "x"},
                    "application_credential": {
                        "id": "x",
                        "name": "x",
                        "secret": "x",
                        "user": {"name": "x"},
                    },
                },
                "scope": {"project": {"id": "x", "name": "x", "domain": {"id": "default"}}},
            }
        },
    ),
    (
        "POST",
        "/v3/projects",
        {
            "project": {
                "name": "new",
                "description": "",
                "enabled": True,
                "domain_id": "default",
                "parent_id": "default",
                "is_domain": False,
            }
        },
    ),
    (
        "PATCH",
        "/v3/projects/{other}",
        {"project": {"name": "new", "description": "", "enabled": True, "is_domain": False}},
    ),
    (
        "POST",
        "/v3/users",
        {
            "user": {
                "name": "new",
                "password": "x",
                "description": "",
                "email": "x",
                "enabled": True,
                "default_project_id": "x",
                "domain_id": "default",
            }
        },
    ),
    (
        "PATCH",
        "/v3/users/{stranger}",
        {
            "user": {
                "name": "new",
                "password": "x",
                "description": "",
                "email": "x",
                "enabled": True,
                "default_project_id": "x",
            }
        },
    ),
    (
        "POST",
        "/v3/users/{stranger}/password",
        {"user": {"password": "x", "original_password": "x"}},
    ),
    ("POST", "/v3/roles", {"role": {"name": "new", "domain_id": "default"}}),
    ("PATCH", f"/v3/roles/{ROLE}", {"role": {"name": "new"}}),
    (
        "POST",
        "/v3/users/{admin}/application_credentials",
        {
            "application_credential": {
                "name": "new",
                "description": "",
                "secret": "x",
                "roles": [{"id": "x", "name": "x"}],
                "access_rules": [{}],
                "unrestricted": True,
                "expires_at": "2999-01-01T00:00:00",
            }
        },
    ),
]
NAMES = [f"{method} {path}" for method, path, _ in BODIES]

#: What may stand in the place of any property.
WRONG: list[Any] = [7, -1.5, True, "text", [], [[]], ["x", 7], {}, {"x": {}}, 2**63]


def is_fault(answer: Any) -> bool:
    """Whether a reply is a 4xx as Identity writes it."""
    if not 400 <= answer.status < 500:
        return False
    fault = answer.json["error"]
    return set(fault) == {"code", "message", "title"} and fault["code"] == answer.status


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path to every property of a document."""
    found = [path] if path else []
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of a document with another value in one place."""
    copy = orjson.loads(orjson.dumps(document))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return copy


def at(document: Any, path: tuple[Any, ...]) -> Any:
    """The value in one place of a document."""
    for key in path:
        document = document[key]
    return document


@pytest.mark.parametrize(("method", "path", "body"), BODIES, ids=NAMES)
async def test_a_body_that_is_no_json_is_a_bad_request(
    cloud: Any, method: str, path: str, body: Any
) -> None:
    """Truncated anywhere, nested ten thousand deep, empty, or not even text."""
    whole = orjson.dumps(body)
    target = path.format(**cloud.ids)
    before = await cloud.everything()
    key = next(iter(body)).encode()
    for bad in (
        *(whole[:length] for length in range(0, len(whole), 17)),
        b"[" * 10_000,
        b'{"' + key + b'":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"odd":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b',"' + key + b'":{}}',
        b"\xff\xfe",
        b'{"' + key + b'": "\xff"}',
        b'{"' + key + b'": "\\ud800"}',
        b"null",
        b"7",
        b'"text"',
        b"[]",
        b"{}",
    ):
        answer = await cloud.ask(method, target, bad, as_="admin")
        assert answer.status == 400, bad[:80]
        assert is_fault(answer)
    assert await cloud.everything() == before


@pytest.mark.parametrize(("method", "path", "body"), BODIES, ids=NAMES)
async def test_a_wrong_type_anywhere_is_a_bad_request(
    cloud: Any, method: str, path: str, body: Any
) -> None:
    """In each property, one after the other; nothing is changed by it."""
    target = path.format(**cloud.ids)
    before = await cloud.everything()
    tried = 0
    for place in places(body):
        right = at(body, place)
        for wrong in WRONG:
            if type(wrong) is type(right):
                continue
            if place[-1] == "scope" and wrong == "unscoped":
                continue
            bad = replaced(body, place, wrong)
            answer = await cloud.ask(method, target, bad, as_="admin")
            assert answer.status == 400, (place, wrong, answer.body)
            assert is_fault(answer)
            tried += 1
    assert tried >= len(places(body)) * 6
    assert await cloud.everything() == before


@pytest.mark.parametrize(("method", "path", "body"), BODIES, ids=NAMES)
async def test_enormous_and_strange_texts_are_refused(
    cloud: Any, method: str, path: str, body: Any
) -> None:
    """100,000 characters or a NUL in each text; never a 500."""
    target = path.format(**cloud.ids)
    before = await cloud.everything()
    for place in places(body):
        if not isinstance(at(body, place), str):
            continue
        for text in ("x" * 100_000, "a\0b", "\0"):
            bad = replaced(body, place, text)
            answer = await cloud.ask(method, target, bad, as_="admin")
            assert is_fault(answer), (place, text[:5], answer.status)
    assert await cloud.everything() == before


@pytest.mark.parametrize(("method", "path", "body"), BODIES, ids=NAMES)
async def test_a_body_that_is_said_to_be_something_else_is_refused(
    cloud: Any, method: str, path: str, body: Any
) -> None:
    """415; a character set after the type is fine."""
    target = path.format(**cloud.ids)
    headers = {"content-type": "text/xml"}
    answer = await cloud.ask(method, target, body, as_="admin", headers=headers)
    assert answer.status == 415
    assert is_fault(answer)
    headers = {"content-type": "application/json; charset=UTF-8"}
    answer = await cloud.ask(method, target, body, as_="admin", headers=headers)
    assert answer.status != 415


@pytest.mark.parametrize(
    "word",
    [
        *(
            "x",
            "%00",
            "a%00b",
            "%F0%9F%92%A9",
            "'; drop table project; --",
            "%25s",
            "%27",
            "..",
            "-",
        ),
        *("%2e%2e%2f", "0" * 31, "0" * 33, "G" * 32, "x" * 3000, "%0d%0aX-Evil:%201"),
    ],
)
async def test_anything_can_stand_in_the_place_of_an_id(cloud: Any, word: str) -> None:
    """404 or another 4xx, never a 500, for reading and for changing."""
    before = await cloud.everything()
    word = word.replace(" ", "%20")
    for path in (
        *(f"/v3/{name}/{word}" for name in ("projects", "users", "roles", "domains", "regions")),
        f"/v3/users/{word}/application_credentials",
        f"/v3/users/{word}/application_credentials/{word}",
        f"/v3/users/{cloud.ids['admin']}/application_credentials/{word}",
        f"/v3/users/{word}/projects",
        f"/v3/projects/{word}/users/{word}/roles",
        f"/v3/projects/{word}/users/{word}/roles/{word}",
        f"/v3/{word}",
    ):
        for method, body in (
            ("GET", None),
            ("DELETE", None),
            ("PUT", None),
            ("PATCH", {"project": {}, "user": {}, "role": {"name": "x"}}),
            ("BREW", None),
        ):
            answer = await cloud.ask(method, path, body, as_="admin")
            empty_list = answer.status == 200 and path.endswith(
                ("/application_credentials", "/projects", "/roles")
            )
            assert empty_list or is_fault(answer), (method, path[:80], answer.status)
            assert answer.header("x-evil") is None
    assert await cloud.everything() == before


@pytest.mark.parametrize(
    "query",
    [
        *("name=%00", "name=%FF", "name=%F0%9F%92%A9", "name=%27%20or%20true", "enabled=maybe"),
        *("enabled=%FF", "limit=-1", "marker=%00", "name=" + "x" * 8000, "name", "&&&==", "%"),
        *("user.id=%00", "include_names=%FF", "domain_id=%FF", "sort_key=drop"),
    ],
)
async def test_anything_can_stand_in_a_query(cloud: Any, query: str) -> None:
    """A list, or a bad request."""
    for collection in ("projects", "users", "roles", "role_assignments", "services", "domains"):
        answer = await cloud.ask("GET", f"/v3/{collection}?{query}", as_="admin")
        assert answer.status == 200 or is_fault(answer), (collection, answer.status)


def raw(port: int, request: bytes) -> bytes:
    """Send bytes as they are and return what comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


@pytest.mark.parametrize(
    "line",
    [
        b"GET /identity/v3/projects/\xff\xfe HTTP/1.1\r\nHost: x",
        b"GET /identity/v3/projects/%ff%fe HTTP/1.1\r\nHost: x",
        b"GET /identity/%c3 HTTP/1.1\r\nHost: x",
        b"GET /identity/v3 HTTP/1.1\r\nHost: \xff\xff",
        b"GET /identity/v3/projects HTTP/1.1\r\nHost: " + b"x" * 70 + b".example",
        b"GET /identity/v3/projects HTTP/1.1\r\nHost: a..b",
        b"GET //identity//v3//projects HTTP/1.1\r\nHost: x",
        b"GET /identity/v3/projects HTTP/1.1\r\nHost: x\r\nX-Auth-Token: \xff\xfe",
        b"GET /identity/v3/auth/tokens HTTP/1.1\r\nHost: x\r\nX-Auth-Token: \x01",
    ],
)
async def test_what_is_no_text_is_a_client_s_error(cloud: Any, line: bytes) -> None:
    """A 4xx also where the client library would refuse to send it."""
    port = int(cloud.url.rpartition(":")[2])
    answer = await deferToThread(raw, port, line + b"\r\nConnection: close\r\n\r\n")
    status = int(answer.split()[1])
    assert 400 <= status < 500, answer[:200]


async def test_a_wrong_method_says_which_are_right(cloud: Any) -> None:
    """405 with Allow."""
    answer = await cloud.ask("DELETE", "/v3/projects", as_="admin")
    assert answer.status == 405
    assert is_fault(answer)
    assert set(str(answer.header("allow")).split(", ")) >= {"GET", "POST"}


async def test_a_body_that_is_too_large_is_refused_unread(cloud: Any) -> None:
    """413 at the first look at its length."""
    port = int(cloud.url.rpartition(":")[2])
    head = b"POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 52428800\r\n\r\n"
    answer = await deferToThread(raw, port, head)
    assert answer.startswith(b"HTTP/1.1 413 ")
