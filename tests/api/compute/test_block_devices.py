"""What the block device mappings of a new server mean."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cyclades_tx.api.compute.block_devices import Mapping, disks_of
from cyclades_tx.errors import BadRequest
from cyclades_tx.model.server import WantedDisk

IMAGE = "00000000-0000-4000-8000-00000000000a"
OTHER = "00000000-0000-4000-8000-00000000000b"
VOLUME = "00000000-0000-4000-8000-00000000000c"
FROM_IMAGE = {
    "uuid": IMAGE, "boot_index": 0, "source_type": "image", "destination_type": "local",
    "delete_on_termination": True,
}  # fmt: skip
NEW_ROOT = {
    "uuid": IMAGE, "boot_index": "0", "source_type": "image", "destination_type": "volume",
    "volume_size": 5, "delete_on_termination": False,
}  # fmt: skip
MORE = {"uuid": VOLUME, "source_type": "volume", "destination_type": "volume", "device_name": "vdb"}
BLANK = {
    "source_type": "blank", "destination_type": "volume", "volume_size": "3", "boot_index": -1,
    "uuid": None, "volume_type": "fast", "tag": "scratch", "delete_on_termination": "true",
}  # fmt: skip


def read(
    image: str | None,
    *entries: dict[str, Any],
    old: list[dict[str, Any]] | None = None,
    minor: int = 96,
) -> Any:
    """What :func:`disks_of` makes of JSON entries."""
    return disks_of(image, [msgspec.convert(each, Mapping) for each in entries], old, minor)


@pytest.mark.parametrize("image", [None, IMAGE])
def test_image_to_local_means_the_image(image: str | None) -> None:
    """The client always sends it, beside ``imageRef`` or alone."""
    assert read(image, FROM_IMAGE) == (IMAGE, ())
    assert read(image, {**FROM_IMAGE, "destination_type": None}) == (IMAGE, ())


def test_nothing_means_what_image_ref_says() -> None:
    """Without an image the flow refuses."""
    assert read(IMAGE) == (IMAGE, ())
    assert read(None) == (None, ())
    assert read(IMAGE, {"no_device": True, "device_name": "vdb"}) == (IMAGE, ())


def test_first_disk_may_be_a_volume_of_an_image() -> None:
    """With the image that the volume is made of."""
    root = WantedDisk(size_gib=5, boot=True, delete_on_termination=False)
    assert read(None, NEW_ROOT) == (IMAGE, (root,))
    assert read(IMAGE, NEW_ROOT) == (IMAGE, (root,))


def test_further_disks_are_volumes_that_are_there_or_new() -> None:
    """In their order."""
    blank = WantedDisk(size_gib=3, delete_on_termination=True, type_ref="fast", tag="scratch")
    assert read(None, FROM_IMAGE, MORE, BLANK) == (IMAGE, (WantedDisk(VOLUME), blank))


def test_old_form_means_the_same() -> None:
    """A volume that is the first device is booted from, if there is no image."""
    old = [{"volume_id": VOLUME, "device_name": "/dev/vdb", "delete_on_termination": "1"}]
    wanted = WantedDisk(VOLUME, delete_on_termination=True)
    assert disks_of(IMAGE, None, old, 1) == (IMAGE, (wanted,))
    (disk,) = disks_of(None, None, [{"volume_id": VOLUME, "device_name": "vda"}], 1)[1]
    assert disk.boot
    for bad in (
        [{"device_name": "vdb"}], [{"snapshot_id": VOLUME}], [{"unknown": 1}],
        [{"virtual_name": "ephemeral0"}], [{"volume_id": 7}], [{"volume_id": "x"}],
    ):  # fmt: skip
        with pytest.raises(BadRequest):
            disks_of(IMAGE, None, bad, 1)
    with pytest.raises(BadRequest, match="different"):
        read(IMAGE, FROM_IMAGE, old=old)


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param([{**FROM_IMAGE, "boot_index": 1}], id="image not first"),
        pytest.param([{**FROM_IMAGE, "boot_index": "x"}], id="boot index"),
        pytest.param([{**FROM_IMAGE, "uuid": None}], id="no image"),
        pytest.param([{**FROM_IMAGE, "uuid": "x"}], id="image id"),
        pytest.param([FROM_IMAGE, {**FROM_IMAGE, "uuid": OTHER}], id="two images"),
        pytest.param([FROM_IMAGE, NEW_ROOT], id="two first"),
        pytest.param([NEW_ROOT, {**MORE, "boot_index": 0}], id="two first volumes"),
        pytest.param([MORE], id="none first"),
        pytest.param([{**NEW_ROOT, "volume_size": None}], id="no size"),
        pytest.param([{**NEW_ROOT, "volume_size": 0}], id="size 0"),
        pytest.param([{**NEW_ROOT, "volume_size": "x"}], id="size text"),
        pytest.param([{**NEW_ROOT, "volume_size": -1}], id="size negative"),
        pytest.param([{**NEW_ROOT, "volume_size": 10**12}], id="size huge"),
        pytest.param([FROM_IMAGE, {**NEW_ROOT, "boot_index": None}], id="image as further"),
        pytest.param([FROM_IMAGE, {**MORE, "source_type": "snapshot"}], id="snapshot"),
        pytest.param([FROM_IMAGE, {**MORE, "source_type": "moon"}], id="source"),
        pytest.param([FROM_IMAGE, {**MORE, "source_type": None}], id="no source"),
        pytest.param([FROM_IMAGE, {**MORE, "destination_type": "moon"}], id="destination"),
        pytest.param([FROM_IMAGE, {**MORE, "device_type": "cdrom"}], id="cdrom"),
        pytest.param([FROM_IMAGE, MORE, MORE], id="volume twice"),
        pytest.param([FROM_IMAGE, {**MORE, "uuid": None}], id="no volume"),
        pytest.param([FROM_IMAGE, {**MORE, "delete_on_termination": "maybe"}], id="termination"),
        pytest.param([FROM_IMAGE, {**BLANK, "destination_type": "local"}], id="ephemeral"),
        pytest.param([{**BLANK, "boot_index": 0}], id="blank first"),
        pytest.param([FROM_IMAGE, {**BLANK, "volume_size": None}], id="blank without size"),
        pytest.param([FROM_IMAGE, {**BLANK, "tag": "a/b"}], id="tag"),
    ],
)
def test_what_cannot_be_is_a_bad_request(entries: list[dict[str, Any]]) -> None:
    """With a sentence."""
    with pytest.raises(BadRequest) as caught:
        read(None, *entries)
    assert len(caught.value.message) > 20


@pytest.mark.parametrize(
    ("entry", "minor"),
    [({"tag": "x"}, 31), ({"tag": "x"}, 37), ({"tag": "x"}, 41), ({"volume_type": "x"}, 66)],
)
def test_members_follow_the_microversion(entry: dict[str, Any], minor: int) -> None:
    """Before their first one they are unknown."""
    plain = {key: value for key, value in BLANK.items() if key not in ("tag", "volume_type")}
    read(IMAGE, FROM_IMAGE, plain, minor=minor)
    with pytest.raises(BadRequest):
        read(IMAGE, FROM_IMAGE, {**plain, **entry}, minor=minor)
    read(IMAGE, FROM_IMAGE, {**plain, **entry}, minor=67)


def test_image_ref_and_a_bootable_volume_contradict_each_other() -> None:
    """As in Nova."""
    with pytest.raises(BadRequest, match="Boot sequence"):
        read(IMAGE, {**MORE, "boot_index": 0})
