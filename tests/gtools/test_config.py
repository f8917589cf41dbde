"""The configuration of the Ganeti side: complete in its example, strict, and without secrets."""

from __future__ import annotations

import configparser
import json
import os
import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from cyclades_tx.gtools.broker import make_broker
from cyclades_tx.gtools.config import DEFAULT_PATH, Config, ConfigError, read_password

EXAMPLE = Path(__file__).parents[2] / "etc" / "ganeti-eventd.toml"


def written(folder: Path, text: str) -> Path:
    path = folder / "eventd.toml"
    path.write_text(text)
    return path


def test_the_example_shows_every_key_with_its_default() -> None:
    """No more and no fewer, once the comment signs are taken away."""
    shown = tomllib.loads(re.sub(r"(?m)^# (?=[a-z_]+ = )", "", EXAMPLE.read_text()))
    assert shown == json.loads(msgspec.json.encode(Config()))


def test_the_example_as_it_is_is_the_default() -> None:
    """It can be copied before anything is changed in it."""
    assert Config.load(EXAMPLE) == Config()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[broker]\nurl = 'amqp://h'", "url"),
        ("[brokers]", "brokers"),
        ("[broker]\nurls = []", "urls"),
        ("[broker]\nurls = ['http://h']", "amqp://"),
        ("[broker]\nurls = ['amqp://me:hush@h']", "username"),
        ("[broker]\nurls = ['amqp://h:99999']", "port"),
        ("[ganeti]\nscan_seconds = 0.0", "scan_seconds"),
        ("[ganeti]\nscan_seconds = nan", "scan_seconds"),
        ("[state]\nbuffer_bytes = 5", "buffer_bytes"),
        ("[state]\nfolder = 5", "folder"),
        ("=", "eventd.toml"),
        pytest.param("a = " + "[" * 5000, "eventd.toml", id="deep"),
    ],
)
def test_what_is_not_allowed_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    """With the file, and never with a password."""
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        Config.load(path)
    assert str(path) in str(caught.value)
    assert complaint in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    """As is a folder in its place."""
    with pytest.raises(ConfigError, match="No such file"):
        Config.load(tmp_path / "none")
    with pytest.raises(ConfigError, match="not a file"):
        Config.load(tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_password_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    """The file is named, its content is not."""
    path = tmp_path / "password"
    path.write_text("hush\n")
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"{mode:04o}") as caught:
        read_password(path)
    assert "hush" not in str(caught.value)


def test_a_password_is_what_stands_in_its_file(tmp_path: Path) -> None:
    """Without the end of the line."""
    path = tmp_path / "password"
    path.touch(0o600)
    with pytest.raises(ConfigError, match="no password"):
        read_password(path)
    path.write_text(" hush \n")
    assert read_password(path) == " hush "


@pytest.mark.parametrize("key", ["password_file", "authorities_file", "certificate_file"])
def test_a_broker_with_an_unusable_file_is_refused(tmp_path: Path, key: str) -> None:
    """Before anything is connected."""
    bad = tmp_path / "bad"
    bad.write_bytes(b"\xff")
    os.chmod(bad, 0o600)
    config = Config.load(written(tmp_path, f"[broker]\n{key} = '{bad}'"))
    with pytest.raises(ConfigError):
        make_broker(None, config.broker)
    bad.write_text("no certificate")
    if key != "password_file":
        with pytest.raises(ConfigError, match="certificate"):
            make_broker(None, config.broker)


def test_the_unit_starts_the_daemon_without_any_right_that_it_does_not_need() -> None:
    """In Ganeti's group, and again when it ends."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(EXAMPLE.with_name("ganeti-eventd.service"))
    service = unit["Service"]
    program, options = service["ExecStart"].split(" ", 1)
    assert program.endswith("/twistd")
    assert options == f"--nodaemon --pidfile= ganeti-eventd --config {DEFAULT_PATH}"
    assert (service["User"], service["Group"]) == ("ganeti-eventd", "gnt-daemons")
    assert (service["Restart"], service["NoNewPrivileges"]) == ("always", "yes")
    assert Config().state.folder == f"/var/lib/{service['StateDirectory']}"
