"""The Ganeti side where nothing but its four libraries is installed."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.gtools.jobs import Queue, shutdown

ROOT = Path(__file__).parents[2]
LIBRARIES = ("Twisted", "txAMQP", "zope.interface", "msgspec")
ALLOWED = {"twisted", "txamqp", "zope", "msgspec"}
WAIT_SECONDS = 60.0


def needed(names: tuple[str, ...]) -> set[str]:
    """These distributions and what they need themselves, without any extra."""
    found: set[str] = set()
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        found.add(name)
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            found.discard(name)  # for another Python than this one
            continue
        for requirement in requirements:
            if "extra ==" not in requirement:
                waiting.append(re.match(r"[A-Za-z0-9._-]+", requirement)[0])  # type: ignore[index]
    return found


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for Python's path: the four libraries, what they need, and the Ganeti side."""
    site = tmp_path_factory.mktemp("site")
    for name in needed(LIBRARIES):
        for file in importlib.metadata.files(name) or ():
            # Folders that several distributions share are made, all else is a link.
            top = Path(*file.parts[: 2 if file.parts[0] == "zope" else 1])
            target = site / top
            if ".." not in file.parts and not target.exists():
                target.parent.mkdir(exist_ok=True)
                target.symlink_to(Path(str(file.locate())).parents[len(file.parts) - 1] / top)
    ours = site / "cyclades_tx"
    caches = shutil.ignore_patterns("__pycache__")
    for room in ("gtools", "mq"):
        shutil.copytree(ROOT / "cyclades_tx" / room, ours / room, ignore=caches)
    for module in ("__init__.py", "steady.py"):
        shutil.copy(ROOT / "cyclades_tx" / module, ours)
    plugins = site / "ours" / "twisted" / "plugins"
    plugins.mkdir(parents=True)
    shutil.copy(ROOT / "twisted/plugins/ganeti_eventd_plugin.py", plugins)
    return site


def python(node: Path, *arguments: str | Path) -> tuple[list[str], dict[str, str]]:
    """A command and an environment that see that folder and the standard library alone."""
    paths = os.pathsep.join(map(str, (node, node / "ours")))
    command = [sys.executable, "-S", "-P", "-B", *map(str, arguments)]
    return command, {"PATH": os.environ["PATH"], "PYTHONPATH": paths}


def ran(node: Path, *arguments: str | Path) -> str:
    command, environment = python(node, *arguments)
    done = subprocess.run(
        command,
        env=environment,
        cwd=node,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_nothing_else_is_there(node: Path) -> None:
    """Or this would prove nothing."""
    for name in ("klein", "treq", "orjson", "psycopg2", "OpenSSL", "click", "pytest"):
        code = f"import importlib.util; print(importlib.util.find_spec({name!r}))"
        assert ran(node, "-c", code).strip() == "None", name


def test_every_module_is_imported_there(node: Path) -> None:
    """The daemon, the monitor and the hook."""
    modules = [
        f"cyclades_tx.gtools.{path.stem}" for path in (ROOT / "cyclades_tx/gtools").glob("*.py")
    ]
    assert len(modules) > 10
    ran(node, "-c", f"import {', '.join(modules)}, cyclades_tx.mq.broker")


def test_only_four_libraries_and_the_room_of_the_broker_are_imported() -> None:
    """Also inside functions."""
    for path in (ROOT / "cyclades_tx/gtools").glob("*.py"):
        names: set[str] = set()
        for each in ast.walk(ast.parse(path.read_text())):
            if isinstance(each, ast.Import):
                names |= {alias.name for alias in each.names}
            elif isinstance(each, ast.ImportFrom):
                names.add("." * each.level + (each.module or ""))
        for name in names:
            fine = (
                name.partition(".")[0] in ALLOWED | sys.stdlib_module_names
                or name in ("cyclades_tx.gtools", "cyclades_tx.steady")
                or name.startswith(("cyclades_tx.gtools.", "cyclades_tx.mq."))
            )
            assert fine, f"{path.name} imports {name}"


def test_twistd_knows_the_daemon_there(node: Path) -> None:
    """And what can be said to it."""
    assert "--config" in ran(node, "-m", "twisted", "ganeti-eventd", "--help")
    assert "ganeti-eventd" in ran(node, "-m", "twisted", "--help")


def test_the_daemon_runs_there(node: Path, tmp_path: Path) -> None:
    """It reads a job, keeps the message while there is no broker, and ends when it is told to."""
    queue = Queue(tmp_path / "ganeti")
    queue.write(shutdown(7, "success"))
    password = tmp_path / "password"
    password.touch(0o600)
    password.write_text("hush-hush\n")
    config = tmp_path / "eventd.toml"
    config.write_text(
        "[broker]\n"
        'urls = ["amqp://127.0.0.1:1"]\nusername = "u"\n'
        f'password_file = "{password}"\n'
        f'[ganeti]\ndata_folder = "{queue.folder}"\nnode_name = "n1.test"\n'
        f'luxi_socket = "{tmp_path}/none"\n'
        f'[state]\nfolder = "{tmp_path}/state"\n'
    )
    command, environment = python(
        node,
        "-c",
        "from twisted.scripts.twistd import run; run()",
        "--nodaemon",
        "--pidfile=",
        "ganeti-eventd",
        "--config",
        config,
    )
    log = tmp_path / "log"
    with log.open("w") as out:
        child = subprocess.Popen(
            command, env=environment, cwd=tmp_path, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        end = time.monotonic() + WAIT_SECONDS
        while not any(
            b'"jobId":7' in path.read_bytes() for path in (tmp_path / "state").glob("*.seg")
        ):
            assert child.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        child.send_signal(signal.SIGTERM)
        assert child.wait(WAIT_SECONDS) == -signal.SIGTERM  # as twistd ends, after all else
    finally:
        child.kill()
        child.wait()
    text = log.read_text()
    assert "this node is the master of g1.test" in text
    assert "Server Shut Down" in text
    assert "Traceback" not in text
    assert "hush-hush" not in text


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("[brokers]", "brokers"), ('[state]\nfolder = "/dev/null/x"', "Not a directory")],
)
def test_what_prevents_a_start_is_one_sentence(
    node: Path, tmp_path: Path, content: str, complaint: str
) -> None:
    """No traceback."""
    config = tmp_path / "eventd.toml"
    config.write_text(content)
    command, environment = python(
        node,
        "-c",
        "from twisted.scripts.twistd import run; run()",
        "--nodaemon",
        "--pidfile=",
        "ganeti-eventd",
        "--config",
        config,
    )
    done = subprocess.run(
        command,
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )
    assert done.returncode == 1
    assert complaint in done.stderr + done.stdout
    assert "Traceback" not in done.stderr + done.stdout
