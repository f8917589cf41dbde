"""Volume's documents: their members, with the microversions that have them.

The expressions stand over the rows that :data:`VOLUME_ROWS` and its like join: ``given.base`` is
the URL of Volume, ``volume`` the volume.
"""

from __future__ import annotations

from typing import Any

from cyclades_tx.api.compute.documents import (
    BOOLEAN,
    MICROSECOND,
    NULL,
    NUMBER,
    TEXT,
    TEXT_OR_NULL,
    array,
    mapping,
    microsecond,
    record,
)
from cyclades_tx.api.documents import Document, Member
from cyclades_tx.flows.volume_types import TEMPLATE_KEY
from cyclades_tx.store.volumes import SHOWN_STATUS

LINKS = array(record(rel={"enum": ["self", "bookmark"]}, href=TEXT))


def links(collection: str, identity: str) -> str:
    """The SQL of the two links of a thing."""
    return (
        "json_build_array(json_build_object('rel', 'self', 'href', given.base || "
        f"'/v3/{collection}/' || {identity}), json_build_object('rel', 'bookmark', 'href', "
        f"given.base || '/{collection}/' || {identity}))"
    )


# -- volumes -----------------------------------------------------------------------------------

STATUSES = (
    "creating", "available", "attaching", "in-use", "detaching", "deleting", "error",
    "error_deleting", "extending", "uploading", "awaiting-transfer",
)  # fmt: skip
#: Where the disk is decides; before there is one, what was asked for.
ZONE = "coalesce(cluster.name, volume.availability_zone, 'nova')"
METADATA = (
    "coalesce((select json_object_agg(key, value order by key) from volume_metadata"
    " where volume_metadata.volume_id = volume.id), '{}')"
)
ATTACHED_AT = microsecond(
    "(select max(operation.finished_at) from operation where operation.volume_id = volume.id"
    " and operation.kind = 'attach_volume' and operation.state = 'succeeded')"
)
_ATTACHMENTS = (
    "case when server.id is null then '[]'::json else json_build_array(json_build_object("
    "'id', volume.uuid, 'attachment_id', volume.uuid, 'volume_id', volume.uuid,"
    " 'server_id', server.uuid, 'device', '/dev/vd' || chr(97 + volume.position),"
    f" 'host_name', null, 'attached_at', {ATTACHED_AT})) end"
)
_ATTACHMENT = record(
    id=TEXT,
    attachment_id=TEXT,
    volume_id=TEXT,
    server_id=TEXT,
    device=TEXT,
    host_name=NULL,
    attached_at=MICROSECOND,
)


def _source(kind: str) -> str:
    return f"case when volume.source_kind = '{kind}' then volume.source_uuid end"


_NAMES = (
    Member("id", "volume.uuid", TEXT),
    Member("name", "volume.name", TEXT),
    Member("links", links("volumes", "volume.uuid"), LINKS),
)

_CORE = (
    *_NAMES,
    Member("status", SHOWN_STATUS, {"enum": list(STATUSES)}),
    Member("size", "volume.size_gib", NUMBER),
    Member("availability_zone", ZONE, TEXT),
    Member("created_at", microsecond("volume.created_at"), MICROSECOND),
    Member("updated_at", microsecond("volume.updated_at"), MICROSECOND),
    Member("attachments", _ATTACHMENTS, array(_ATTACHMENT)),
    Member("description", "volume.description", TEXT_OR_NULL),
    Member("volume_type", "volume_type.name", TEXT),
    Member("snapshot_id", _source("snapshot"), TEXT_OR_NULL),
    Member("source_volid", _source("volume"), TEXT_OR_NULL),
    Member("metadata", METADATA, mapping(TEXT)),
    Member("user_id", "volume.user_id", TEXT),
    Member("bootable", "volume.bootable::text", {"enum": ["true", "false"]}),
    Member("encrypted", "false", BOOLEAN),
    Member("multiattach", "false", BOOLEAN),
    Member("replication_status", "null::text", NULL),
    Member("consistencygroup_id", "null::text", NULL),
    Member("migration_status", "null::text", NULL),
    Member("group_id", "null::text", NULL, first=13),
    Member("provider_id", "null::text", NULL, first=21, admin=True),
    Member("service_uuid", "null::text", NULL, first=48),
    Member("shared_targets", "false", BOOLEAN, first=48),
    Member("cluster_name", "cluster.name", TEXT_OR_NULL, first=61, admin=True),
    Member("volume_type_id", "volume_type.uuid", TEXT, first=63),
    Member("consumes_quota", "true", BOOLEAN, first=65),
)

_IMAGE = (
    "json_build_object('image_id', volume.source_uuid, 'image_name',"
    " coalesce((select image.name from image where image.uuid = volume.source_uuid), ''))"
)

#: An item of ``GET /volumes``.
VOLUME_ITEM = Document("VolumeItem", _NAMES)
#: What ``POST /volumes`` and ``PUT /volumes/V`` answer.
VOLUME_MADE = Document("VolumeMade", _CORE)
#: ``GET /volumes/V``, and an item of ``GET /volumes/detail``.
VOLUME = Document(
    "Volume",
    (
        *_CORE,
        Member("os-vol-tenant-attr:tenant_id", "volume.project_id", TEXT),
        Member("os-vol-host-attr:host", "cluster.name", TEXT_OR_NULL, admin=True),
        Member("os-vol-mig-status-attr:migstat", "null::text", NULL, admin=True),
        Member("os-vol-mig-status-attr:name_id", "null::text", NULL, admin=True),
        Member(
            "volume_image_metadata",
            _IMAGE,
            record(image_id=TEXT, image_name=TEXT),
            when="volume.source_kind = 'image'",
        ),
    ),
)

#: What the members of a volume stand over, beside ``given`` and ``volume`` themselves.
VOLUME_ROWS = (
    " join volume_type on volume_type.id = volume.volume_type_id"
    " left join server on server.id = volume.server_id"
    " left join cluster on cluster.id = coalesce(server.cluster_id, volume.cluster_id)"
)

# -- types -------------------------------------------------------------------------------------

_TEMPLATE = "volume_type.disk_template || coalesce('_' || volume_type.provider, '')"
TYPE_SPECS = (
    f"coalesce((select json_object_agg(spec.key, spec.value order by spec.key) from ("
    f"select '{TEMPLATE_KEY}' as key, {_TEMPLATE} as value union all"
    " select key, value from volume_type_spec where volume_type_spec.volume_type_id ="
    " volume_type.id and given.admin) as spec), '{}')"
)

VOLUME_TYPE = Document(
    "VolumeType",
    (
        Member("id", "volume_type.uuid", TEXT),
        Member("name", "volume_type.name", TEXT),
        Member("description", "volume_type.description", TEXT),
        Member("is_public", "volume_type.public", BOOLEAN),
        Member("os-volume-type-access:is_public", "volume_type.public", BOOLEAN),
        Member("extra_specs", TYPE_SPECS, mapping(TEXT)),
        Member("qos_specs_id", "null::text", NULL, admin=True),
    ),
)

# -- transfers ---------------------------------------------------------------------------------

_TRANSFER_NAMES = (
    Member("id", "volume_transfer.uuid", TEXT),
    Member("volume_id", "volume.uuid", TEXT),
    Member("name", "volume_transfer.name", TEXT),
    Member("links", links("os-volume-transfer", "volume_transfer.uuid"), LINKS),
)

TRANSFER_ITEM = Document("TransferItem", _TRANSFER_NAMES)
TRANSFER = Document(
    "Transfer",
    (
        *_TRANSFER_NAMES,
        Member("created_at", microsecond("volume_transfer.created_at"), MICROSECOND),
        Member("source_project_id", "volume.project_id", TEXT, first=57),
        Member("destination_project_id", "null::text", NULL, first=57),
        Member("accepted", "false", BOOLEAN, first=57),
        Member("no_snapshots", "false", BOOLEAN, first=55),
    ),
)
TRANSFER_ROWS = " join volume on volume.id = volume_transfer.volume_id"


def transfer_made(minor: int, admin: bool) -> dict[str, Any]:
    """The schema of a transfer as it is made: the only time that its key is shown."""
    shown = TRANSFER.schema(minor, admin)
    properties = {**shown["properties"], "auth_key": TEXT}
    return {**shown, "properties": properties, "required": sorted(properties)}
