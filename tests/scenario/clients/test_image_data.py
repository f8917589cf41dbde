"""The data of images, as users send and save them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.scenario.clients.people import Person
from tests.scenario.clients.table import approximated, rows, supported

pytestmark = pytest.mark.xdist_group("clients")

DATA = bytes(range(256)) * 8192
FILE = "PUT image/images/I/file"
IMPORT = "POST image/images/I/import"


@rows(
    supported("image create --file F NAME", FILE),
    supported("image create --import --file F NAME", IMPORT),
    supported("image save --file F I", "GET image/images/I/file"),
    supported("image stage --file F I", "PUT image/images/I/stage"),
    supported("image import I", IMPORT),
    supported("image import --method web-download --uri U I", IMPORT),
)
def test_data_go_in_and_come_out(demo: Person, tmp_path: Path) -> None:
    """At once, or staged and imported; from elsewhere where the operator allows it."""
    (tmp_path / "data").write_bytes(DATA)
    file = f"--file {tmp_path / 'data'}"
    made = demo.json(f"image create --disk-format raw {file} golden")
    assert demo.json("image show golden")["checksum"] == hashlib.md5(DATA).hexdigest()
    demo(f"image save --file {tmp_path / 'saved'} golden")
    assert (tmp_path / "saved").read_bytes() == DATA
    demo(f"image create --import --disk-format raw {file} brought")
    assert demo.json("image show brought")["status"] == "active"
    demo("image create --disk-format raw empty")
    demo(f"image stage {file} empty")
    assert demo.json("image show empty")["status"] == "uploading"
    demo("image import empty")
    assert demo.json("image show empty")["size"] == len(DATA)
    demo("image create --disk-format raw far")
    demo("image import --method web-download --uri http://127.0.0.1/x far")
    demo(f"image delete {made['id']} brought empty far")


@rows(
    approximated(
        "image save --file F THEIRS",
        "GET image/images/I/file",
        "Empty for images that lie where the clusters reach them.",
    ),
)
def test_data_that_lie_elsewhere(demo: Person, tmp_path: Path) -> None:
    """Those of the operators have none here."""
    demo(f"image save --file {tmp_path / 'saved'} debian-12")
    assert (tmp_path / "saved").read_bytes() == b""
