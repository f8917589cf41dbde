"""The rooms of the package: who may import whom, as docs/architecture.md draws it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import cyclades_tx

PACKAGE = Path(cyclades_tx.__file__).parent
ARCHITECTURE = PACKAGE.parent / "docs" / "architecture.md"

_VALUES = {"model", "errors"}
_OUTSIDE = {"store", "ganeti", "vault", "image_store"}
_DECLARED = {"config", "sections", "log", "metrics"}

#: A room or a module beside the rooms -> what it may import of the others.
ARROWS: dict[str, set[str]] = {
    "__init__": set(),
    "errors": set(),
    "crash": set(),
    "lag": set(),
    "limits": set(),
    "steady": set(),
    "trouble": set(),
    "metrics": {"errors"},
    "mq": set(),
    "console": {"steady"},
    "gtools": {"mq", "steady"},
    "model": {"errors"},
    "sections": {"errors", "mq"},
    "config": {"errors", "sections"},
    "log": {"errors", "sections"},
    "vault": {"errors"},
    "image_store": _VALUES,
    "ganeti": _VALUES,
    "store": _VALUES | {"log"},
    "identity": _VALUES | {"store"},
    "drift": _VALUES | {"store", "sections"},
    "flows": _VALUES | _OUTSIDE | {"identity", "mq", "sections", "console", "trouble"},
    "loops": _VALUES | _OUTSIDE | {"drift", "sections", "console", "trouble"},
    "api": _VALUES | _OUTSIDE | _DECLARED | {"flows", "identity", "trouble"},
    "world": _VALUES | _OUTSIDE | _DECLARED | {"flows", "identity", "mq", "crash"},
    "health": {"errors", "metrics", "store"},
    "manage": _VALUES | _OUTSIDE | _DECLARED | {"world", "flows", "drift", "identity", "mq"},
}
#: These put the others together.
EVERYTHING = {"app", "doors", "testing", "trial", "trial_seed", "trial_watch"}

#: What of a room is for those that come in from outside of it.
DOORS: dict[tuple[str, str], set[str]] = {
    ("loops", "ganeti"): {"interfaces", "named", "offline"},
    ("flows", "mq"): {"interfaces"},
    ("flows", "console"): {"interfaces"},
    ("loops", "console"): {"interfaces"},
}


def rooms() -> list[str]:
    """The rooms and the modules beside them."""
    found = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    return sorted(found | {path.stem for path in PACKAGE.glob("*.py")})


def imported(room: str) -> Iterator[tuple[str, str, str]]:
    """Each import of another room, also inside functions: the file, the room, what of it."""
    place = PACKAGE / room
    for path in sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path} imports relatively"
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                top, _, rest = name.partition(".")
                other, _, what = rest.partition(".")
                if top == "cyclades_tx" and other not in (room, "__version__"):
                    yield str(path.relative_to(PACKAGE.parent)), other, what.partition(".")[0]


@pytest.mark.parametrize("room", rooms())
def test_imports_go_along_the_arrows(room: str) -> None:
    """An arrow that wants to point the other way is turned by an interface, or moves a module."""
    if room in EVERYTHING:
        return
    wrong = [
        f"{file} imports {other}.{what}"
        for file, other, what in imported(room)
        if other not in ARROWS[room] or what not in DOORS.get((room, other), {what})
    ]
    assert not wrong


def test_the_doors_are_those_of_arrows() -> None:
    """A door where nobody comes in would check nothing."""
    used = {(room, other) for room in ARROWS for _, other, _ in imported(room)}
    assert used >= DOORS.keys()


def test_no_arrows_make_a_circle() -> None:
    """From the bottom up, each room stands on those below."""
    left = dict(ARROWS)
    while left:
        bottom = [room for room, others in left.items() if not others & left.keys()]
        assert bottom, sorted(left)
        for room in bottom:
            del left[room]


def test_the_way_in_names_every_room() -> None:
    """Or a reader does not find it."""
    text = ARCHITECTURE.read_text()
    for room in rooms():
        if (PACKAGE / room).is_dir():
            assert f"`{room}/`" in text, room
        elif room != "__init__":
            assert f"`{room}.py`" in text, room


def test_the_reactor_is_handed_in() -> None:
    """Nothing below app.py imports it when it is itself imported."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.module == "twisted.internet":
                assert "reactor" not in {alias.name for alias in node.names}, path
