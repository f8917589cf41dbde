"""What comes in over the command line: words, codes, and hostile input."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cyclades_tx.errors import BadRequest, NotFound
from cyclades_tx.flows.flavors import Flavors
from cyclades_tx.manage import images, networks, servers
from cyclades_tx.manage.app import commands
from cyclades_tx.manage.backends import fleet
from cyclades_tx.store import listings, network_lists, operator_address_lists, operator_lists
from cyclades_tx.store.listings import Listing
from cyclades_tx.store.operator_lists import FLAVORS, VOLUME_TYPES

Manage = Callable[..., Any]
ROOT = Path(__file__).parents[2]


def refused(said: Any, code: int = 1) -> bool:
    """Whether a command ended with a sentence and a code, and no traceback."""
    return said.code == code and "Traceback" not in said.err and said.err != ""


async def test_no_command_shows_them_all(manage_apart: Manage) -> None:
    """Whoever types the name alone is told what there is."""
    said = await manage_apart()
    assert said.code == 2
    for name in ("backend-add", "flavor-create", "server-create", "keyring-rotate"):
        assert name in said.err + said.out


async def test_version_needs_no_configuration(manage: Manage, tmp_path: Path) -> None:
    """A fresh installation can tell what it is."""
    said = await manage("--version", config=tmp_path / "none.toml")
    assert said.code == 0
    assert said.out.startswith("snf-manage ")


async def test_a_missing_configuration_is_named(manage_apart: Manage, tmp_path: Path) -> None:
    """The file that is not there stands in the message."""
    said = await manage_apart("flavor-list", config=tmp_path / "none.toml")
    assert refused(said)
    assert str(tmp_path / "none.toml") in said.err


async def test_a_wrong_key_of_the_configuration_is_named(manage: Manage, config_path: Path) -> None:
    """An operator reads which key it is."""
    config_path.write_text(config_path.read_text() + "[log]\nlevle = 'info'\n")
    said = await manage("flavor-list")
    assert refused(said)
    assert "log.levle" in said.err


async def test_an_unreachable_database_is_a_sentence(manage: Manage, config_path: Path) -> None:
    """Without PostgreSQL a command fails soon and plainly."""
    (config_path.parent / "dsn").write_text("host=127.0.0.1 port=1 dbname=x password=hush-hush")
    text = config_path.read_text()
    text = text.replace("[database]\n", "[database]\nacquire_timeout_seconds = 1\n")
    config_path.write_text(text)
    said = await manage("flavor-list")
    assert refused(said)
    assert "hush-hush" not in said.err + said.out
    assert "The database cannot be reached: " in said.err
    assert "Connection refused" in said.err, "the operator reads why"


@pytest.mark.parametrize("command", ["flavor-list", "database-migrate"])
async def test_a_connection_string_that_is_none_is_not_shown(
    manage: Manage, config_path: Path, command: str
) -> None:
    """libpq quotes from it: here, from the password."""
    (config_path.parent / "dsn").write_text("dbname=x password=open hush-hush")
    said = await manage(command)
    assert refused(said)
    assert "hush-hush" not in said.err + said.out
    assert "dsn_file" in said.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("server-show", "999999999999999999999999999999"),
        ("server-show", "-5"),
        ("network-show", "snf-net-99999999999999999999"),
        ("backend-remove", "-f", "'; delete from cluster; --"),
        ("flavor-list", "--filter-by", "id=1 or 1=1"),
    ],
)
async def test_a_thing_that_is_not_there(manage: Manage, arguments: tuple[str, ...]) -> None:
    """Whatever stands where an id belongs, the answer is a sentence."""
    said = await manage(*arguments)
    # A word that begins with a dash is an option that nobody knows: usage.
    assert refused(said, 2 if "-5" in arguments else 1)


@pytest.mark.parametrize(
    "ref",
    ["", "0", "-5", "1e3", "١", "9" * 40, "snf-0", "snf-", "snf-net-0", "'; drop table server; --",
     "%s", "%(it)s", "../../etc/passwd", "00000000-0000-0000-0000-00000000000g", "x" * 70000],
)  # fmt: skip
async def test_words_that_name_nothing(world: Any, ref: str) -> None:
    """Every noun's finder answers a strange word with NotFound."""
    for found in (
        servers.find(world, ref),
        networks.find(world, ref),
        images.find(world, ref),
        fleet(world).find(ref),
        Flavors(world.database).find(ref),
        world.people.find_user(ref),
    ):
        with pytest.raises(NotFound):
            await found


@pytest.mark.parametrize(
    "filters",
    [
        "id=1 or 1=1",
        "id=99999999999999999999999",
        "id=1_000",
        "id=١",
        "id=",
        "nofield=1",
        "name",
        "=x",
        "created>=yesterday",
        "public=perhaps",
        "name=a\0b",
        "",
    ],
)
def test_a_filter_that_makes_no_sense(filters: str) -> None:
    """A wrong filter is refused with a sentence, before the database is asked."""
    with pytest.raises(BadRequest):
        listings.terms(FLAVORS, [filters])


def test_a_comma_inside_a_value_does_not_end_it() -> None:
    """Only a comma before another condition is one between two."""
    found = listings.terms(FLAVORS, ["name=a,b,cpu>=2"])
    assert [(term.column.name, term.operator, term.value) for term in found] == [
        ("name", "=", "a,b"),
        ("cpu", ">=", 2),
    ]


@pytest.mark.parametrize("value", ["x' or '1'='1", "%s", "%(it)s", "a,b", 'x"; drop table flavor'])
async def test_a_filter_value_is_only_compared(world: Any, value: str) -> None:
    """SQL in a value is text like any other."""
    await world.database.run(
        "insert into volume_type (name, disk_template) values (%s, 'plain')", (value,)
    )
    columns = VOLUME_TYPES.pick("name")
    for operator, wanted in (("=", [(value,)]), ("!=", []), (">", [])):
        conditions = listings.terms(VOLUME_TYPES, [f"name{operator}{value}"])
        assert await listings.rows(world.database, VOLUME_TYPES, columns, conditions) == wanted


async def test_an_unknown_field_names_the_known_ones(manage: Manage) -> None:
    """The message tells what can be asked for."""
    said = await manage("flavor-list", "-o", "id,password")
    assert refused(said)
    assert "allow_create" in said.err


async def test_fields_can_be_listed(manage: Manage) -> None:
    """--list-fields needs no database and names the hidden fields too."""
    said = await manage("server-list", "--list-fields", "--output-format", "json")
    assert {"field": "suspended", "kind": "truth", "shown": False} in json.loads(said.out)


@pytest.mark.parametrize(
    "arguments",
    [
        ("flavor-create", "1,x", "512", "5", "plain"),
        ("flavor-create", "1", "512", "5"),
        ("flavor-modify", "1"),
        ("flavor-modify", "1", "--public", "maybe"),
        ("backend-add", "--clustername", "a", "--user", "u", "--port", "70000"),
        ("backend-modify", "1"),
        ("server-modify", "1", "--action", "explode"),
        ("server-create", "--name", "x"),
        ("network-create", "--name", "x", "--flavor", "CUSTOM", "--gateway", "10.0.0.1"),
        ("user-create", "eve", "--role", "admin"),
        ("user-create", "eve", "--no-password", "--password-stdin"),
        ("no-such-command",),
    ],
)
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...]) -> None:
    """Usage errors have an exit code of their own, and no database is needed for them."""
    outcome = CliRunner().invoke(commands, ["--config", "/nowhere", *arguments])
    assert outcome.exit_code == 2, outcome.output
    assert "Error" in outcome.output


async def test_bytes_that_are_not_text_are_refused(manage_apart: Manage) -> None:
    """An argument that is not UTF-8 reaches neither the database nor a traceback."""
    assert refused(await manage_apart("project-create", b"\xff\xfe"), 2)
    assert refused(await manage_apart("flavor-list", "--filter-by", b"name=\xff"), 2)


async def test_too_many_flavors_at_once_are_refused(manage: Manage, world: Any) -> None:
    """A slip of the hand does not fill the table."""
    await world.database.run(
        "insert into volume_type (name, disk_template) values ('plain', 'plain')"
    )
    many = ",".join(str(number) for number in range(1, 101))
    assert refused(await manage("flavor-create", many, "4,8,16,32", "1,2,3,4", "plain"))
    assert await world.database.value("select count(*) from flavor") == 0


async def test_control_characters_do_not_reach_the_terminal(manage: Manage, world: Any) -> None:
    """A name cannot move the operator's cursor."""
    await world.people.create_project("plain", description="\x1b[2Jwiped\nnext")
    said = await manage("project-list")
    assert "\x1b" not in said.out
    assert "\\x1b[2Jwiped\\x0anext" in said.out


async def test_a_question_that_nobody_answers_ends_the_command(manage_apart: Manage) -> None:
    """Without a terminal and without -f nothing is removed."""
    said = await manage_apart("server-remove", "1", given=b"")
    assert said.code == 130
    assert "Traceback" not in said.err


async def test_an_older_schema_is_told(manage: Manage, config_path: Path, empty_dsn: str) -> None:
    """Commands refuse a database of another release; database-migrate brings it up, once."""
    (config_path.parent / "dsn").write_text(empty_dsn)
    assert refused(await manage("flavor-list"))
    first = await manage("database-migrate")
    assert first.code == 0
    assert "001_identity.sql" in first.out
    second = await manage("database-migrate")
    assert "already" in second.out
    assert (await manage("flavor-list")).code == 0


async def test_every_field_of_every_list_can_be_read_and_filtered(world: Any) -> None:
    """No declared column has SQL that PostgreSQL refuses."""
    values = {"number": "1", "truth": "True", "time": "2024-01-01", "text": "x"}
    modules = (operator_lists, operator_address_lists, network_lists)
    named = [
        each for module in modules for each in vars(module).values() if isinstance(each, Listing)
    ]
    assert len(named) >= 17
    for listing in named:
        filters = [
            f"{column.name}{sign}{values[column.kind]}"
            for column in listing.columns
            for sign in ("=", "!=", ">=", "<")
        ]
        conditions = listings.terms(listing, filters)
        for deleted in (False, True) if listing.deleted else (False,):
            found = await listings.rows(
                world.database, listing, listing.columns, conditions, deleted
            )
            assert found == []


async def test_ctrl_c_ends_a_wait_in_order(config_path: Path) -> None:
    """A command that waits for the database ends at once, without a traceback."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        (config_path.parent / "dsn").write_text(
            f"host=127.0.0.1 port={silent.getsockname()[1]} dbname=x"
        )
        # Who runs the tests in the background has Ctrl-C ignored, and so would this process.
        program = (
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
            " from cyclades_tx.manage import main; main()"
        )
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", program, "flavor-list"],
            env={**os.environ, "CYCLADES_TX_CONFIG": str(config_path), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        silent.settimeout(60)
        # It has connected, so it waits by now.
        connected, _ = silent.accept()
        # It stays open: a connection that closes is a reason of its own to end.
        with connected:
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert b"Traceback" not in err
    assert out == b""
