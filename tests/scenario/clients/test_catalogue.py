"""What servers are made of: flavors, key pairs, images."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenario.clients.people import Person
from tests.scenario.clients.table import approximated, for_administrators, refused, rows, supported

pytestmark = pytest.mark.xdist_group("clients")

FLAVOR = "Administrators only. Its id is a UUID, its disks are of the first volume type."
MAKE = "flavor create --ram 64 --vcpus 1 --disk 1"


@rows(
    supported("flavor list", "GET compute/flavors/detail?is_public=True"),
    supported("flavor list --long", "GET compute/flavors/F/os-extra_specs"),
    supported("flavor list --all", "GET compute/flavors/detail?is_public=None"),
    supported("flavor list --min-ram N --min-disk M", "GET compute/flavors/detail?minRam=N"),
    supported("flavor list --limit N", "GET compute/flavors/detail?limit=N"),
    supported(
        "flavor show F",
        "GET compute/flavors/F",
    ),
)
def test_flavors_for_everyone(demo: Person) -> None:
    """Listed and shown, by name and id."""
    assert demo.column("flavor list") == ["larger", "medium", "small", "tiny"]
    (tiny,) = [each for each in demo.json("flavor list --long") if each["Name"] == "tiny"]
    assert (tiny["RAM"], tiny["VCPUs"], tiny["Disk"], tiny["Properties"]) == (128, 1, 1, {})
    assert len(demo.column("flavor list --all")) == 4
    assert demo.column("flavor list --min-ram 512 --min-disk 6") == ["medium"]
    assert len(demo.column("flavor list --limit 2")) == 2
    shown = demo.json("flavor show tiny")
    assert (shown["name"], shown["ram"]) == ("tiny", 128)
    assert demo.json(f"flavor show {shown['id']}") == shown
    demo.refused(f"{MAKE} mine", why="Policy does not allow this request to be performed.")


@rows(
    approximated("flavor create F", "POST compute/flavors", FLAVOR),
    approximated(
        "flavor create --property K=V --private F",
        "POST compute/flavors → POST compute/flavors/F/os-extra_specs",
        FLAVOR,
    ),
    refused(
        "flavor create --ephemeral N F",
        *("POST compute/flavors", 400, "Flavors of this cloud have no ephemeral disk."),
    ),
    refused(
        "flavor create --swap N F",
        *("POST compute/flavors", 400, "Flavors of this cloud have no swap disk."),
    ),
    refused(
        "flavor create --id 77 F",
        *("POST compute/flavors", 400, "Flavors of this cloud have a UUID"),
    ),
    for_administrators("flavor set --property K=V F", "POST compute/flavors/F/os-extra_specs"),
    for_administrators("flavor set --description D F", "PUT compute/flavors/F"),
    for_administrators("flavor set --project P F", "POST compute/flavors/F/action addTenantAccess"),
    for_administrators("flavor unset --property K F", "DELETE compute/flavors/F/os-extra_specs/K"),
    for_administrators(
        "flavor unset --project P F", "POST compute/flavors/F/action removeTenantAccess"
    ),
    for_administrators("flavor show --format json F", "GET compute/flavors/F/os-flavor-access"),
    for_administrators("flavor delete F", "DELETE compute/flavors/F"),
)
def test_an_administrator_makes_flavors(admin: Person, demo: Person) -> None:
    """A private one is seen by the project that got it."""
    admin(f"{MAKE} plain")
    assert "plain" in demo.column("flavor list")
    made = admin.json(f"{MAKE} --property a:b=c --private ours")
    assert (made["os-flavor-access:is_public"], made["properties"]) == (False, {"a:b": "c"})
    admin.refused(f"{MAKE} --ephemeral 1 x")
    admin.refused(f"{MAKE} --swap 1 x")
    admin.refused(f"{MAKE} --id 77 x")
    assert "ours" not in demo.column("flavor list")
    admin("flavor set --property x=y ours")
    admin("flavor set --description d ours")
    admin("flavor set --project demo ours")
    assert "ours" in demo.column("flavor list")
    shown = admin("flavor show --format json ours")
    project = demo.json("token issue")["project_id"]
    assert project in shown
    admin("flavor unset --property x ours")
    shown = demo.json("flavor show ours")
    assert (shown["properties"], shown["description"]) == ({"a:b": "c"}, "d")
    admin("flavor unset --project demo ours")
    assert "ours" not in demo.column("flavor list")
    admin("flavor delete ours")
    admin("flavor delete plain")
    assert len(admin.column("flavor list --all")) == 4


@rows(
    supported("keypair create NAME", "POST compute/os-keypairs"),
    supported("keypair create --public-key FILE NAME", "POST compute/os-keypairs"),
    supported("keypair list", "GET compute/os-keypairs"),
    supported("keypair show NAME", "GET compute/os-keypairs/NAME"),
    supported("keypair show --public-key NAME", "GET compute/os-keypairs/NAME"),
    supported("keypair delete NAME", "DELETE compute/os-keypairs/NAME"),
    for_administrators("keypair list --user U", "GET compute/os-keypairs?user_id=U"),
)
def test_key_pairs(demo: Person, admin: Person, tmp_path: Path) -> None:
    """Made by the client, brought along, and forgotten."""
    assert "PRIVATE KEY" in demo("keypair create 'a key.1'")
    public = demo("keypair show --public-key 'a key.1'")
    assert public.startswith("ssh-ed25519 ")
    (tmp_path / "key.pub").write_text(f"{public} me@home\n")
    demo(f"keypair create --public-key {tmp_path / 'key.pub'} mine")
    one, two = demo.json("keypair list")
    assert one["Fingerprint"] == two["Fingerprint"]
    shown = demo.json("keypair show mine")
    assert (shown["type"], shown["fingerprint"]) == ("ssh", one["Fingerprint"])
    demo.refused(f"keypair create --public-key {tmp_path / 'key.pub'} mine", why="409")
    (tmp_path / "key.pub").write_text("no key\n")
    demo.refused(f"keypair create --public-key {tmp_path / 'key.pub'} other", why="400")
    assert admin.column("keypair list --user demo") == ["a key.1", "mine"]
    demo("keypair delete mine 'a key.1'")
    assert demo.json("keypair list") == []


@rows(
    supported("image list", "GET image/images"),
    supported("image list --long", "GET image/images"),
    supported("image list --name NAME", "GET image/images?name=NAME"),
    supported("image list --tag T", "GET image/images?tag=T"),
    supported("image list --limit 1", "GET image/images?limit=1"),
    supported("image show I", "GET image/images?name=I"),
    supported("image member list I", "GET image/images/I/members"),
    supported("image import info", "GET image/info/import"),
    refused("image stores list", "GET image/info/stores", 404, "Multi Backend support not enabled"),
)
def test_images(demo: Person, tmp_path: Path) -> None:
    """Those of the operators, to be read only."""
    assert demo.column("image list") == ["debian-12", "ubuntu-24.04"]
    (first, _) = demo.json("image list --long")
    assert (first["Status"], first["Visibility"]) == ("active", "public")
    assert demo.column("image list --name debian-12") == ["debian-12"]
    assert demo.json("image list --tag none") == []
    assert len(demo.json("image list --limit 1")) == 1
    assert demo.json("image show debian-12")["properties"]["os"] == "debian"
    assert demo.json("image member list debian-12") == []
    demo("image import info")
    demo.refused("image stores list")
    demo(f"image save --file {tmp_path / 'saved'} debian-12")
