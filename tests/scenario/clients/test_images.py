"""Images as users make, change and share them."""

from __future__ import annotations

import pytest

from tests.scenario.clients.people import Person
from tests.scenario.clients.table import approximated, for_administrators, refused, rows, supported

pytestmark = pytest.mark.xdist_group("clients")

PATCH = "PATCH image/images/I"
MEMBER = "PUT image/images/I/members/P"
NEITHER = "The resource could not be found."


@rows(
    supported("image create NAME", "POST image/images"),
    supported(
        "image create --disk-format qcow2 --container-format bare --min-disk N --min-ram M NAME",
        "POST image/images",
    ),
    supported(
        "image create --private --protected --property K=V --tag T NAME", "POST image/images"
    ),
    supported("image create --id I NAME", "POST image/images"),
    refused(
        "image create --public NAME",
        *("POST image/images", 403, "You are not authorized to complete publicize_image action."),
    ),
    refused(
        "image create --property os_glance_x=1 NAME",
        *("POST image/images", 403, "Attribute 'os_glance_x' is reserved."),
    ),
    supported("image set --name NAME I", PATCH),
    supported("image set --property K=V I", PATCH),
    supported("image set --tag T I", PATCH),
    supported("image set --min-disk N --min-ram M --hidden I", PATCH),
    supported("image set --os-distro D --architecture A I", PATCH),
    supported("image set --disk-format raw --container-format ovf I", PATCH),
    supported("image set --unprotected I", PATCH),
    supported("image set --protected I", PATCH),
    supported("image set --community I", PATCH),
    supported("image unset --property K I", PATCH),
    supported("image unset --tag T I", "DELETE image/images/I/tags/T"),
    supported("image list --hidden", "GET image/images?os_hidden=True"),
    supported("image list --property K=V", "GET image/images"),
    supported("image list --status queued", "GET image/images?status=queued"),
    supported("image delete I", "DELETE image/images/I"),
)
def test_an_image_from_beginning_to_end(demo: Person) -> None:
    """Made without data, changed, found, deleted; a protected one stays."""
    formats = "--disk-format qcow2 --container-format bare --min-disk 2 --min-ram 64"
    made = demo.json(f"image create {formats} golden")
    assert (made["status"], made["min_disk"], made["disk_format"]) == ("queued", 2, "qcow2")
    assert made["visibility"] == "shared"
    kept = demo.json("image create --private --protected --property os=plan9 --tag red kept")
    assert (kept["protected"], kept["tags"], kept["properties"]["os"]) == (True, ["red"], "plan9")
    plain = demo.json("image create plain")
    demo.refused("image create --id " + plain["id"] + " again", why="409")
    demo("image create --id 11111111-2222-4333-8444-555555555555 chosen")
    demo.refused("image create --public everybodys")
    demo.refused("image create --property os_glance_x=1 odd")
    demo("image set --name silver golden")
    demo("image set --property OSFAMILY=linux --property other=1 silver")
    demo("image set --tag a --tag b silver")
    demo("image set --min-disk 3 --min-ram 128 --hidden silver")
    demo("image set --os-distro debian --architecture x86_64 silver")
    demo("image set --disk-format raw --container-format ovf silver")
    demo("image set --community plain")
    demo("image unset --property other silver")
    demo("image unset --tag b silver")
    shown = demo.json("image show silver")
    assert (shown["name"], shown["min_disk"], shown["min_ram"]) == ("silver", 3, 128)
    assert (shown["tags"], shown["disk_format"], shown["container_format"]) == (["a"], "raw", "ovf")
    properties = shown["properties"]
    assert (properties["OSFAMILY"], properties["os_hidden"]) == ("linux", True)
    assert (properties["os_distro"], properties["architecture"]) == ("debian", "x86_64")
    assert "other" not in properties
    assert demo.column("image list --hidden") == ["silver"]
    assert demo.column("image list --property os=plan9") == ["kept"]
    assert demo.column("image list --status queued") == ["chosen", "kept", "plain"]
    demo.refused("image delete kept", why="is protected and cannot be deleted")
    demo("image set --unprotected kept")
    demo("image set --protected plain")
    demo("image set --unprotected plain")
    demo("image delete kept silver plain chosen")
    assert demo.column("image list") == ["debian-12", "ubuntu-24.04"]
    demo.refused("image set --name mine debian-12", why="You are not permitted to change image")
    demo.refused("image delete debian-12", why="You are not permitted to change image")


@rows(
    supported("image add project I P", "POST image/images/I/members"),
    supported("image remove project I P", "DELETE image/images/I/members/P"),
    supported("image member get I P", "GET image/images/I/members/P"),
    supported("image set --accept I", MEMBER),
    supported("image set --reject I", MEMBER),
    supported("image set --pending I", MEMBER),
    supported(
        "image list --shared --member-status pending", "GET image/images?member_status=pending"
    ),
    supported("image list --shared --member-status all", "GET image/images?member_status=all"),
    supported("image list --community", "GET image/images?visibility=community"),
    supported("image list --private", "GET image/images?visibility=private"),
    supported("image list --public", "GET image/images?visibility=public"),
    supported("image list --all", "GET image/images?visibility=all"),
)
def test_an_image_is_shared_with_another_project(demo: Person, admin: Person) -> None:
    """Not in its list before it has accepted it; the owner takes it back."""
    uuid = demo.json("image create --disk-format raw ours")["id"]
    demo("image create --private own")
    project = admin.json("project show admin")["id"]
    shared = demo.json(f"image add project ours {project}")
    assert (shared["member_id"], shared["status"]) == (project, "pending")
    assert demo.json(f"image member get ours {project}")["status"] == "pending"
    demo.refused(f"image add project own {project}", why="Only shared images have members.")
    demo.refused("image add project ours nobody", why="There is no project")
    for command, status in (("accept", "accepted"), ("reject", "rejected"), ("pending", "pending")):
        admin(f"image set --{command} {uuid}")
        (member,) = demo.json("image member list ours")
        assert (member["Member ID"], member["Status"]) == (project, status)
        found = admin.column(f"image list --shared --member-status {status}")
        assert found == ["ours"]
    assert admin.column("image list --shared --member-status all") == ["ours"]
    assert demo.column("image list --private") == ["own"]
    assert demo.column("image list --public") == ["debian-12", "ubuntu-24.04"]
    assert demo.column("image list --community") == []
    assert demo.column("image list --all") == ["debian-12", "ours", "own", "ubuntu-24.04"]
    demo(f"image remove project ours {project}")
    assert demo.json("image member list ours") == []
    demo("image delete ours own")


@rows(
    supported("image set --deactivate I", "POST image/images/I/actions/deactivate"),
    supported("image set --activate I", "POST image/images/I/actions/reactivate"),
    for_administrators("image set --public I", PATCH),
    for_administrators("image set --project P I", PATCH),
    for_administrators("image create --project P NAME", "POST image/images"),
    approximated("image list --project P", "GET image/images", "By the client itself."),
)
def test_what_administrators_do_with_images(demo: Person, admin: Person) -> None:
    """Published, given to a project, deactivated: then no servers are made from it."""
    demo("image create ours")
    admin("image set --deactivate debian-12")
    assert demo.json("image show debian-12")["status"] == "deactivated"
    why = "debian-12"
    assert why in demo.column("image list")
    admin("image set --activate debian-12")
    assert demo.json("image show debian-12")["status"] == "active"
    uuid = demo.json("image show ours")["id"]
    admin(f"image set --public {uuid}")
    assert "ours" in demo.column("image list --public")
    given = admin.json("image create --project demo gift")
    assert given["owner"] == admin.json("project show demo")["id"]
    assert demo.column(f"image list --project {given['owner']}") == ["gift", "ours"]
    admin(f"image set --project admin {given['id']}")
    demo("image delete ours")
    demo.refused("image set --name x gift", why="No Image found for gift")
    admin("image delete gift")


@rows(
    refused("image task list", "GET image/tasks", 404, NEITHER),
    refused("image metadef namespace list", "GET image/metadefs/namespaces", 404, NEITHER),
    refused("image metadef resource type list", "GET image/metadefs/resource_types", 404, NEITHER),
    refused("cached image list", "GET image/cache", 404, NEITHER),
)
def test_what_image_has_none_of(demo: Person) -> None:
    """404, as for anything that is not there."""
    demo.refused("image task list")
    demo.refused("image metadef namespace list")
    demo.refused("image metadef resource type list")
    demo.refused("cached image list")
