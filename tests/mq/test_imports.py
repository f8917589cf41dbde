"""The room stands alone, so that the Ganeti side can be packaged apart."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOM = Path(__file__).parents[2] / "cyclades_tx" / "mq"
ALLOWED = {"twisted", "txamqp", "zope", "msgspec"}
#: What belongs to the service and not to the Ganeti side.
APART = {"consumer.py", "messages.py"}


def imports(file: Path) -> set[str]:
    """Every module that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or ""))
    return found


def test_only_four_libraries_and_this_room_are_imported() -> None:
    """Whatever else would be missing on a Ganeti node."""
    files = [file for file in ROOM.glob("*.py") if file.name not in APART]
    assert {"amqp.py", "broker.py", "codec.py", "interfaces.py"} <= {file.name for file in files}
    for file in files:
        for name in imports(file):
            top = name.partition(".")[0]
            fine = (
                top in sys.stdlib_module_names
                or top in ALLOWED
                or name == "cyclades_tx.mq"
                or name.startswith("cyclades_tx.mq.")
            )
            assert fine, f"{file.name} imports {name}"


def test_only_the_cure_imports_txamqp() -> None:
    """Everything else speaks to our own names."""
    users = {
        file.name
        for file in ROOM.glob("*.py")
        if any(name.partition(".")[0] == "txamqp" for name in imports(file))
    }
    assert users == {"amqp.py", "channel.py"}


def test_importing_it_loads_nothing_else_of_ours_and_no_reactor() -> None:
    """In a process of its own."""
    code = (
        "import sys\n"
        "import cyclades_tx.mq.broker, cyclades_tx.mq.memory\n"
        "ours = {name for name in sys.modules if name.startswith('cyclades_tx')}\n"
        "print(sorted(name for name in ours if not name.startswith('cyclades_tx.mq')))\n"
        "print('twisted.internet.reactor' in sys.modules)\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOM.parents[1],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.splitlines()
    assert out == ["['cyclades_tx']", "False"]
