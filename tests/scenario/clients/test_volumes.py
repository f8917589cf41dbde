"""Volumes: made, changed, given away; their types, their limits, and what there is none of."""

from __future__ import annotations

import pytest

from tests.scenario.clients.people import Person
from tests.scenario.clients.table import approximated, for_administrators, refused, rows, supported

pytestmark = pytest.mark.xdist_group("clients")

V = "volume/volumes/V"
ACTION = f"POST {V}/action"
EMPTY = "Empty; its disk is made when a server gets it for the first time."
ATTACHING = "Volumes are attached and detached through Compute."
SNAPSHOTS = "No cluster of this cloud can make snapshots of disks."
BACKUPS = "Volumes are not backed up by this cloud"
MOVING = "Volumes are moved by the operators of the clusters."
PUBLIC = "Every volume type of this cloud is public."
POLICY = "Policy does not allow this request to be performed."


@rows(
    approximated("volume create --size N V", "POST volume/volumes", EMPTY),
    approximated(
        "volume create --size N --type T --property K=V --description D --bootable V",
        f"POST volume/volumes → {ACTION} os-set_bootable",
        EMPTY,
    ),
    approximated(
        "volume create --size N --image I V",
        "POST volume/volumes",
        "The image gets on it when a server boots from it first.",
    ),
    refused(
        "volume create --source W V",
        *("POST volume/volumes", 501, "Disks cannot be copied on this cloud."),
    ),
    refused(
        "volume create --size N --read-only V",
        *(f"{ACTION} os-update_readonly_flag", 501, "Failed to set volume read-only access mode"),
    ),
    supported("volume list", "GET volume/volumes/detail"),
    supported("volume list --long --name V", "GET volume/volumes/detail?name=V"),
    supported(
        "volume list --limit N",
        "GET volume/volumes/detail?limit=N → GET volume/volumes/detail?marker=V",
    ),
    supported("volume list --property K=V", "GET volume/volumes/detail"),
    for_administrators("volume list --all-projects", "GET volume/volumes/detail?all_tenants=True"),
    supported("volume summary", "GET volume/volumes/summary"),
    supported("volume show V", f"GET {V}"),
    supported("volume set --name W V", f"PUT {V}"),
    supported("volume set --size N V", f"{ACTION} os-extend"),
    supported("volume set --property K=V V", f"POST {V}/metadata"),
    supported("volume set --bootable V", f"{ACTION} os-set_bootable"),
    approximated(
        "volume set --type T V",
        f"{ACTION} os-retype",
        "Before its first disk.",
    ),
    for_administrators("volume set --state error V", f"{ACTION} os-reset_status"),
    refused(
        "volume set --image-property K=V V",
        *(f"{ACTION} os-set_image_metadata", 501, "The facts of a volume's image are"),
    ),
    supported("volume unset --property K V", f"DELETE {V}/metadata/K"),
    refused("volume migrate --host H V", f"{ACTION} os-migrate_volume", 501, MOVING),
    supported("volume delete V", f"DELETE {V}"),
    approximated(
        "volume delete --force V",
        f"DELETE {V}?force=True",
        "Also by its owner; that of a volume that a server has is an operation.",
    ),
)
def test_volumes(demo: Person, admin: Person) -> None:
    """From its making to its end."""
    demo("volume create --size 1 first")
    made = demo.json(
        "volume create --size 2 --type file --property a=b --description d --bootable second"
    )
    assert (made["size"], made["type"]) == (2, "file")
    assert demo.column("volume list") == ["first", "second"]
    (shown,) = demo.json("volume list --long --name second")
    assert (shown["Bootable"], shown["Properties"]) == (True, {"a": "b"})
    assert len(demo.json("volume list --limit 1")) == 2, "page by page"
    assert demo.column("volume list --property a=b") == ["second"]
    assert set(admin.column("volume list --all-projects")) >= {"first", "second"}
    assert demo.json("volume summary") == {
        "Total Count": 2, "Total Size": 3, "Metadata": {"a": ["b"]},
    }  # fmt: skip
    third = demo.json("volume create --size 1 --image debian-12 third")
    assert third["bootable"] is True
    demo("volume delete third")
    demo.refused("volume create --source first third")
    demo("volume set --name 'a volume' --description e first")
    demo("volume set --size 4 'a volume'")
    demo("volume set --property x=y --property z=1 'a volume'")
    demo("volume set --bootable 'a volume'")
    demo("volume set --type file 'a volume'")
    demo("volume unset --property z 'a volume'")
    demo.refused("volume set --image-property x=y 'a volume'")
    shown = demo.json("volume show 'a volume'")
    assert (shown["size"], shown["properties"], shown["description"]) == (4, {"x": "y"}, "e")
    assert (shown["status"], shown["bootable"]) == ("available", True)
    admin(f"volume set --state error {shown['id']}")
    admin.refused(f"volume migrate --host x {shown['id']}")
    demo("volume delete second")
    demo("volume delete --force 'a volume'")
    demo("volume create --size 1 --read-only third")
    assert demo.column("volume list") == ["third"]
    demo("volume delete third")


@rows(
    approximated("conn.create_volume(N)", "POST volume/volumes", EMPTY),
    supported("conn.list_volumes()", "GET volume/volumes/detail"),
    supported("conn.block_storage.volumes(details)", "GET volume/volumes"),
    supported("conn.block_storage.put(/volumes/V/metadata)", f"PUT {V}/metadata"),
    supported("conn.block_storage.fetch_volume_metadata(V)", f"GET {V}/metadata"),
    supported("conn.block_storage.put(/volumes/V/metadata/K)", f"PUT {V}/metadata/K"),
    supported("conn.block_storage.get(/volumes/V/metadata/K)", f"GET {V}/metadata/K"),
    refused("conn.block_storage.attach_volume(V, M, I)", f"{ACTION} os-attach", 501, ATTACHING),
    refused("conn.block_storage.detach_volume(V, A)", f"{ACTION} os-detach", 501, ATTACHING),
    refused(
        "conn.block_storage.upload_volume_to_image(V, N)",
        *(f"{ACTION} os-volume_upload_image", 501, "cannot be read from outside its server"),
    ),
    supported("conn.delete_volume(V, wait)", f"DELETE {V} → GET {V}"),
    supported("conn.block_storage.get(/openapi.json)", "GET volume/openapi.json"),
    supported("conn.block_storage.get(/)", "GET /volume/v3"),
)
def test_volumes_of_the_sdk(demo: Person) -> None:
    """What no command of ``openstack`` sends."""
    conn = demo.conn
    volume = conn.create_volume(1, name="sdk", wait=True)
    assert volume["status"] == "available"
    assert [each["name"] for each in conn.list_volumes()] == ["sdk"]
    assert [each["name"] for each in conn.block_storage.volumes(details=False)] == ["sdk"]
    path = f"/volumes/{volume['id']}/metadata"
    conn.block_storage.put(path, json={"metadata": {"a": "b"}})
    conn.block_storage.put(f"{path}/c", json={"meta": {"c": "d"}})
    assert conn.block_storage.get(f"{path}/c")["body"] == {"meta": {"c": "d"}}
    found = conn.block_storage.fetch_volume_metadata(volume["id"])
    assert found["metadata"] == {"a": "b", "c": "d"}
    conn.block_storage.attach_volume.refused(volume["id"], "/dev/vdb", volume["id"])
    conn.block_storage.detach_volume.refused(volume["id"], volume["id"])
    conn.block_storage.upload_volume_to_image.refused(volume["id"], "x")
    assert conn.block_storage.get("/openapi.json")["body"]["info"]["title"] == "Volume"
    assert conn.block_storage.get("/")["status"] == 200
    assert conn.delete_volume(volume["id"], wait=True) is True
    assert conn.list_volumes() == []


@rows(
    supported(
        "volume transfer request create --name T V",
        f"GET {V} → POST volume/volume-transfers",
    ),
    supported("volume transfer request list", "GET volume/volume-transfers/detail"),
    supported("volume transfer request show T", "GET volume/volume-transfers"),
    supported("conn.block_storage.get_transfer(T)", "GET volume/volume-transfers/T"),
    supported(
        "volume transfer request accept --auth-key K T",
        "POST volume/volume-transfers/T/accept",
    ),
    supported("volume transfer request delete T", "DELETE volume/volume-transfers/T"),
    supported("conn.block_storage.transfers(details)", "GET volume/volume-transfers"),
    supported("conn.block_storage.post(/os-volume-transfer)", "POST volume/os-volume-transfer"),
    supported("conn.block_storage.get(/os-volume-transfer)", "GET volume/os-volume-transfer"),
    supported(
        "conn.block_storage.get(/os-volume-transfer/detail)",
        "GET volume/os-volume-transfer/detail",
    ),
    supported("conn.block_storage.get(/os-volume-transfer/T)", "GET volume/os-volume-transfer/T"),
    supported(
        "conn.block_storage.delete(/os-volume-transfer/T)", "DELETE volume/os-volume-transfer/T"
    ),
    supported(
        "conn.block_storage.post(/os-volume-transfer/T/accept)",
        "POST volume/os-volume-transfer/T/accept",
    ),
)
def test_transfers(demo: Person, admin: Person) -> None:
    """From one project to another, and back."""
    demo("volume create --size 1 gift")
    made = demo.json("volume transfer request create --name one gift")
    assert demo.column("volume transfer request list") == ["one"]
    assert demo.json("volume transfer request show one")["volume_id"] == made["volume_id"]
    assert [each["name"] for each in demo.conn.block_storage.transfers(details=False)] == ["one"]
    assert demo.conn.block_storage.get_transfer(made["id"])["name"] == "one"
    demo(f"volume transfer request delete {made['id']}")
    made = demo.json("volume transfer request create --name two gift")
    admin(f"volume transfer request accept --auth-key {made['auth_key']} {made['id']}")
    assert demo.json("volume list") == []
    old, path = admin.conn.block_storage, "/os-volume-transfer"
    body = {"transfer": {"volume_id": made["volume_id"]}}
    transfer = old.post(path, json=body)["body"]["transfer"]
    assert old.get(f"{path}/{transfer['id']}")["status"] == 200
    old.delete(f"{path}/{transfer['id']}")
    transfer = old.post(path, json=body)["body"]["transfer"]
    assert len(old.get(path)["body"]["transfers"]) == 1
    assert len(old.get(f"{path}/detail")["body"]["transfers"]) == 1
    accept = {"accept": {"auth_key": transfer["auth_key"]}}
    demo.conn.block_storage.post(f"{path}/{transfer['id']}/accept", json=accept)
    assert demo.column("volume list") == ["gift"]
    demo("volume delete gift")


@rows(
    supported("volume type list", "GET volume/types"),
    supported("volume type list --default", "GET volume/types/default"),
    supported("volume type show T", "GET volume/types"),
    supported("conn.block_storage.get_type(T)", "GET volume/types/T"),
    approximated(
        "volume type create --property K=V --description D T",
        "POST volume/types → POST volume/types/T/extra_specs",
        "Administrators only. The property SNF:disk_template names Ganeti's template.",
    ),
    refused("volume type create --private T", "POST volume/types", 400, PUBLIC),
    for_administrators("volume type set --name T U", "PUT volume/types/T"),
    for_administrators("volume type set --property K=V T", "POST volume/types/T/extra_specs"),
    for_administrators("volume type unset --property K T", "DELETE volume/types/T/extra_specs/K"),
    refused(
        "volume type set --project P T",
        *(
            "POST volume/types/T/action addProjectAccess",
            409,
            "Failed to set volume type access to project",
        ),
    ),
    for_administrators("volume type delete T", "DELETE volume/types/T"),
    supported("conn.block_storage.get(/types/T/extra_specs)", "GET volume/types/T/extra_specs"),
    supported("conn.block_storage.get(/types/T/extra_specs/K)", "GET volume/types/T/extra_specs/K"),
    for_administrators(
        "conn.block_storage.put(/types/T/extra_specs/K)", "PUT volume/types/T/extra_specs/K"
    ),
    refused(
        "conn.block_storage.get_type_access(T)",
        *(
            "GET volume/types/T/os-volume-type-access",
            404,
            "Access list not available for public volume types.",
        ),
    ),
)
def test_types(demo: Person, admin: Person) -> None:
    """Read by everyone, made and changed by administrators."""
    before = demo.column("volume type list")
    assert "file" in before
    assert demo.json("volume type list --default")[0]["Name"] in before
    assert demo.json("volume type show file")["properties"] == {"SNF:disk_template": "file"}
    admin("volume type create --property SNF:disk_template=drbd --description d mirrored")
    shown = demo.json("volume type show mirrored")
    assert demo.conn.block_storage.get_type(shown["id"])["name"] == "mirrored"
    assert (shown["properties"], shown["description"]) == ({"SNF:disk_template": "drbd"}, "d")
    admin.refused("volume type create --private x")
    admin("volume type set --name twice mirrored")
    admin("volume type set --property a=b twice")
    path = f"/types/{shown['id']}/extra_specs"
    assert admin.conn.block_storage.get(f"{path}/a")["body"] == {"a": "b"}
    admin.conn.block_storage.put(f"{path}/a", json={"a": "c"})
    specs = admin.conn.block_storage.get(path)["body"]["extra_specs"]
    assert specs == {"SNF:disk_template": "drbd", "a": "c"}
    admin("volume type unset --property a twice")
    admin.refused("volume type set --project demo twice")
    admin.conn.block_storage.get_type_access.refused(shown["id"])
    demo.refused("volume type delete twice", why=POLICY)
    admin("volume type delete twice")
    assert demo.column("volume type list") == before


@rows(
    supported("quota show --volume", "GET volume/os-quota-sets/P"),
    supported("limits show --reserved --absolute", "GET volume/limits"),
    supported("availability zone list --volume", "GET volume/os-availability-zone"),
    supported("extension list --volume", "GET volume/extensions"),
    approximated(
        "quota set --volumes N --gigabytes M P",
        "PUT volume/os-quota-sets/P",
        "Administrators only. The gigabytes are those of the disks of servers too.",
    ),
    refused(
        "quota set --snapshots N P",
        *("PUT volume/os-quota-sets/P", 400, "The quota snapshots is 0 for everyone"),
    ),
    approximated(
        "quota set --default --volumes N default",
        "PUT volume/os-quota-class-sets/default",
        "Administrators only. Projects that are there keep theirs until they are reset.",
    ),
    for_administrators("quota list --volume", "GET volume/os-quota-sets/P/defaults"),
    for_administrators("quota delete --volume P", "DELETE volume/os-quota-sets/P"),
    for_administrators(
        "conn.block_storage.get(/os-quota-class-sets/default)",
        "GET volume/os-quota-class-sets/default",
    ),
    approximated(
        "volume service list",
        "GET volume/os-services",
        "Administrators only. Each cluster is one cinder-volume.",
    ),
)
def test_limits_quotas_and_services(demo: Person, admin: Person) -> None:
    """Of volumes alone, and of all services together."""
    quotas = {each["Resource"]: each["Limit"] for each in demo.json("quota show --volume")}
    assert (quotas["volumes"], quotas["snapshots"]) == (1000, 0)
    limits = {
        each["Name"]: each["Value"] for each in demo.json("limits show --reserved --absolute")
    }
    assert limits["max_total_volumes"] == 1000
    zones = demo.column("availability zone list --volume", "Zone Name")
    assert zones == ["sim1.example.org", "sim2.example.org"]
    assert "VolumeTransfer" in demo.column("extension list --volume")
    admin("project create stored")
    admin("quota set --volumes 7 --gigabytes 70 stored")
    admin.refused("quota set --snapshots 5 stored")
    shown = {each["Resource"]: each["Limit"] for each in admin.json("quota show stored")}
    assert (shown["volumes"], shown["gigabytes"]) == (7, 70)
    listed = admin.json("quota list --volume")
    assert [each["Volumes"] for each in listed] == [7]
    admin("quota delete --volume stored")
    admin("quota set --default --volumes 8 default")
    path = "/os-quota-class-sets/default"
    found = admin.conn.block_storage.get(path)["body"]["quota_class_set"]
    assert found["volumes"] == 8
    admin("quota set --default --volumes 1000 default")
    admin("project delete stored")
    assert admin.column("volume service list", "Host") == ["sim1.example.org", "sim2.example.org"]


@rows(
    supported("volume attachment list", "GET volume/attachments/detail"),
    supported("conn.block_storage.attachments(details)", "GET volume/attachments"),
    refused(
        "volume attachment show A",
        *("GET volume/attachments/A", 404, "could not be found"),
    ),
    refused("conn.block_storage.post(/attachments)", "POST volume/attachments", 501, ATTACHING),
    supported("volume snapshot list", "GET volume/snapshots/detail"),
    supported("conn.block_storage.snapshots(details)", "GET volume/snapshots"),
    refused("volume snapshot create --volume V X", "POST volume/snapshots", 501, SNAPSHOTS),
    refused(
        "volume snapshot show X",
        *("GET volume/snapshots/detail?name=X", 200, "No Snapshot found for x"),
    ),
    refused("conn.block_storage.get(/snapshots/X)", "GET volume/snapshots/X", 404, "not be found"),
    refused("conn.block_storage.put(/snapshots/X)", "PUT volume/snapshots/X", 404, "not be found"),
    refused(
        "conn.block_storage.delete(/snapshots/X)", "DELETE volume/snapshots/X", 404, "not be found"
    ),
    supported("volume backup list", "GET volume/backups/detail"),
    supported("conn.block_storage.backups(details)", "GET volume/backups"),
    refused("volume backup create V", "POST volume/backups", 501, BACKUPS),
    refused("conn.block_storage.get(/backups/X)", "GET volume/backups/X", 404, "not be found"),
    refused("conn.block_storage.put(/backups/X)", "PUT volume/backups/X", 404, "not be found"),
    refused(
        "conn.block_storage.delete(/backups/X)", "DELETE volume/backups/X", 404, "not be found"
    ),
)
def test_what_there_is_none_of(demo: Person) -> None:
    """Snapshots and backups; attachments are Compute's to make."""
    volume = demo.json("volume create --size 1 alone")["id"]
    assert demo.json("volume attachment list") == []
    assert demo.conn.block_storage.attachments(details=False) == []
    demo.refused(f"volume attachment show {volume}")
    body = {"attachment": {"volume_uuid": volume}}
    post = demo.conn.block_storage.post
    post.refused("/attachments", json=body, microversion="3.27")
    assert demo.json("volume snapshot list") == []
    assert demo.conn.block_storage.snapshots(details=False) == []
    demo.refused("volume snapshot create --volume alone x")
    demo.refused("volume snapshot show x")
    assert demo.json("volume backup list") == []
    assert demo.conn.block_storage.backups(details=False) == []
    demo.refused("volume backup create alone")
    for noun in ("snapshots", "backups"):
        for function in ("get", "put", "delete"):
            getattr(demo.conn.block_storage, function).refused(f"/{noun}/x")
    demo("volume delete alone")
