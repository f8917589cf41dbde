"""The launcher's small parts; whole trial runs are among the scenarios."""

from __future__ import annotations

import fcntl
import socket
import stat
from pathlib import Path

import pytest

from cyclades_tx import trial, trial_seed


def test_a_private_file_is_its_owners_alone_and_whole(tmp_path: Path) -> None:
    """Also when there was one before."""
    path = tmp_path / "secret"
    for text in ("one", "two"):
        trial._private(path, text)
        assert path.read_text() == text
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["secret"]


@pytest.mark.parametrize("port", ["0", "65536", "-1", "x"])
def test_a_port_that_is_none_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By the parser of the command line."""
    with pytest.raises(SystemExit) as caught:
        trial.main([f"--port={port}"])
    assert caught.value.code == 2
    assert "--port" in capsys.readouterr().err


def test_a_port_in_use_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing was started by then."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert trial.main([f"--state={tmp_path / 'var'}", f"--port={port}"]) == 1
    error = capsys.readouterr().err
    assert error == f"Port {port} is in use; choose another with PORT=.\n"


def test_a_state_in_use_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two runs never share one."""
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert trial.main([f"--state={tmp_path}"]) == 1
    assert capsys.readouterr().err == f"Another run uses {tmp_path}; choose STATE=.\n"


def test_a_state_that_cannot_be_made_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here a file stands in the way."""
    (tmp_path / "file").write_text("")
    assert trial.main([f"--state={tmp_path / 'file' / 'var'}"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_clients_file_follows_the_port_and_keeps_the_passwords(tmp_path: Path) -> None:
    """The next run may listen elsewhere."""
    clouds = tmp_path / "clouds.yaml"
    clouds.write_text("clouds:\n" + trial_seed._entry("demo", "s3cret: #x", "http://127.0.0.1:1"))
    clouds.chmod(0o600)
    trial_seed._repoint(clouds, "http://127.0.0.1:2")
    text = clouds.read_text()
    assert "http://127.0.0.1:2/identity" in text and "127.0.0.1:1/" not in text
    assert "s3cret: #x" in text
    assert stat.S_IMODE(clouds.stat().st_mode) == 0o600
