"""What Volume's OpenAPI document says of each endpoint."""

from __future__ import annotations

from typing import Any

from cyclades_tx.api import metadata
from cyclades_tx.api.compute import shapes
from cyclades_tx.api.compute.documents import NUMBER, TEXT, array, mapping, record
from cyclades_tx.api.documents import Document
from cyclades_tx.api.openapi import (
    APPROXIMATED,
    DOCUMENT,
    REFUSED,
    ByVersion,
    Described,
    Reference,
    Schema,
    listed,
    plain,
    shown,
    within,
)
from cyclades_tx.api.volume import (
    actions,
    attachments,
    documents,
    listing,
    quotas,
    refused,
    surroundings,
    transfers,
    types,
    volumes,
)
from cyclades_tx.api.volume.microversions import MAXIMUM, MINIMUM
from cyclades_tx.flows.volume_types import TEMPLATE_KEY

_METADATA = plain(record(metadata=mapping(TEXT)))
_META = plain(record(meta=mapping(TEXT)))
_SPEC = plain(mapping(TEXT))
_TYPE = within("volume_type", shown(documents.VOLUME_TYPE))
_QUOTA = within("quota_set", shown(quotas.QUOTA_SET))
_PAGE = ("limit", "offset")
_EITHER_QUOTA = "With `usage` each limit stands beside what is used."
_NEVER_MADE = "None can be made."


def _volumes(document: Document) -> Any:
    def shape(minor: int, admin: bool) -> Schema:
        found = listed("volumes", document.schema, "volumes_links")(minor, admin)
        if minor >= listing.COUNT_FIRST:
            found["properties"]["count"] = NUMBER
        return found

    return shape


def _summary(minor: int, admin: bool) -> Schema:
    facts: Schema = {"total_count": NUMBER, "total_size": NUMBER}
    if minor >= volumes.SUMMARY_METADATA_FIRST:
        facts["metadata"] = mapping(array(TEXT))
    return record(**{"volume-summary": record(**facts)})


def _quota(minor: int, admin: bool) -> Schema:
    either = [each.schema(minor, admin) for each in (quotas.QUOTA_SET, quotas.QUOTA_SET_USAGE)]
    return record(quota_set={"oneOf": either})


def _limits(minor: int, admin: bool) -> Schema:
    absolute = quotas.ABSOLUTE.schema(minor, admin)
    return record(limits=record(rate=shapes.NOTHING, absolute=absolute))


TABLE: dict[str, Described] = {
    "GET ": Described("The version.", reply=plain(record(versions=array(shapes.VERSION)))),
    "GET /openapi.json": DOCUMENT,
    # Volumes
    "GET /volumes": Described(
        "List volumes.", reply=_volumes(documents.VOLUME_ITEM), query=listing.QUERY
    ),
    "GET /volumes/detail": Described(
        "List volumes with all facts.", reply=_volumes(documents.VOLUME), query=listing.QUERY
    ),
    "GET /volumes/summary": Described(
        "Add volumes up.", reply=_summary, query=("all_tenants",), first=volumes.SUMMARY_FIRST
    ),
    "POST /volumes": Described(
        "Make a volume.",
        body=volumes.Body,
        reply=within("volume", shown(documents.VOLUME_MADE)),
        status=202,
        support=APPROXIMATED,
        note="Empty ones, or of an image; the disk is made when a server gets it first.",
    ),
    "GET /volumes/<volume_id>": Described(
        "Show a volume.", reply=within("volume", shown(documents.VOLUME))
    ),
    "PUT /volumes/<volume_id>": Described(
        "Change name, description, metadata.",
        body=volumes.ChangedBody,
        reply=within("volume", shown(documents.VOLUME_MADE)),
    ),
    "DELETE /volumes/<volume_id>": Described(
        "Delete a volume.",
        status=202,
        query=("force", "cascade"),
        support=APPROXIMATED,
        note="With `force` also one that a server has, by its owner too.",
    ),
    "POST /volumes/<volume_id>/action": Described(
        "Extend … a volume.",
        body=ByVersion(actions.types),
        status=202,
        empty=(200,),
        support=APPROXIMATED,
        note="`os-extend`, `os-set_bootable`, `os-retype` (before its first disk),"
        " `os-update_readonly_flag` (false only), `os-reset_status` (administrators),"
        " `os-force_delete`; the others are refused.",
    ),
    "GET /volumes/<volume_id>/metadata": Described("Show the metadata.", reply=_METADATA),
    "POST /volumes/<volume_id>/metadata": Described(
        "Add metadata.", body=metadata.All, reply=_METADATA
    ),
    "PUT /volumes/<volume_id>/metadata": Described(
        "Replace the metadata.", body=metadata.All, reply=_METADATA
    ),
    "GET /volumes/<volume_id>/metadata/<key>": Described("Show an item.", reply=_META),
    "PUT /volumes/<volume_id>/metadata/<key>": Described(
        "Set an item.", body=metadata.One, reply=_META
    ),
    "DELETE /volumes/<volume_id>/metadata/<key>": Described("Delete an item."),
    # Types
    "GET /types": Described(
        "List types.",
        reply=listed("volume_types", shown(documents.VOLUME_TYPE)),
        query=(*_PAGE, "marker", "is_public"),
    ),
    "GET /types/default": Described("Show the type of volumes that name none.", reply=_TYPE),
    "GET /types/<type_id>": Described("Show a type.", reply=_TYPE),
    "POST /types": Described(
        "Make a type.",
        body=types.NewBody,
        reply=_TYPE,
        support=APPROXIMATED,
        note=f"Public; the extra spec `{TEMPLATE_KEY}` names Ganeti's template.",
    ),
    "PUT /types/<type_id>": Described("Change a type.", body=types.ChangedBody, reply=_TYPE),
    "DELETE /types/<type_id>": Described("Delete a type of which there is nothing.", status=202),
    "GET /types/<type_id>/extra_specs": Described("List extra specs.", reply=plain(types.SPECS)),
    "POST /types/<type_id>/extra_specs": Described(
        "Add extra specs.", body=types.SpecsBody, reply=plain(types.SPECS)
    ),
    "GET /types/<type_id>/extra_specs/<key>": Described("Show an extra spec.", reply=_SPEC),
    "PUT /types/<type_id>/extra_specs/<key>": Described(
        "Set an extra spec.", body=dict[str, str], reply=_SPEC
    ),
    "DELETE /types/<type_id>/extra_specs/<key>": Described("Delete an extra spec.", status=202),
    "GET /types/<type_id>/os-volume-type-access": Described(
        "List who may use a type.", support=REFUSED, note="404: every type is public."
    ),
    "POST /types/<type_id>/action": Described(
        "Give a type to a project.",
        body=types.AccessBody,
        support=REFUSED,
        note="409: every type is public.",
    ),
    # Limits and quotas
    "GET /limits": Described("Show limits and use.", reply=_limits, query=("project_id",)),
    "GET /os-quota-sets/<project_id>": Described(
        "Show quotas.",
        reply=_quota,
        query=("usage",),
        support=APPROXIMATED,
        note=f"{_EITHER_QUOTA} The gigabytes are those of the disks of servers too.",
    ),
    "GET /os-quota-sets/<project_id>/defaults": Described("Show the defaults.", reply=_QUOTA),
    "PUT /os-quota-sets/<project_id>": Described(
        "Change quotas.",
        body=quotas.Body,
        reply=within("quota_set", shown(quotas.QUOTA_SET_CHANGED)),
        support=APPROXIMATED,
        note="Volumes and gigabytes; all others are the same for everyone.",
    ),
    "DELETE /os-quota-sets/<project_id>": Described("Let the defaults count again."),
    "GET /os-quota-class-sets/<class_id>": Described(
        "Show the defaults.", reply=within("quota_class_set", shown(quotas.QUOTA_SET))
    ),
    "PUT /os-quota-class-sets/<class_id>": Described(
        "Change the defaults.",
        body=quotas.ClassBody,
        reply=within("quota_class_set", shown(quotas.QUOTA_SET_CHANGED)),
        support=APPROXIMATED,
        note="There is one class, `default`; projects that are there keep theirs until reset.",
    ),
    # Where volumes are
    "GET /os-availability-zone": Described(
        "List zones.", reply=plain(surroundings.ZONES), note="Each cluster is one."
    ),
    "GET /os-services": Described(
        "List services.",
        reply=listed("services", shown(surroundings.SERVICE)),
        query=("host", "binary"),
        support=APPROXIMATED,
        note="Each cluster is one cinder-volume.",
    ),
    "GET /extensions": Described(
        "List extensions.", reply=listed("extensions", plain(surroundings.EXTENSION))
    ),
    "GET /attachments": Described(
        "List attachments.",
        reply=listed("attachments", shown(attachments.ATTACHMENT_ITEM)),
        query=(*_PAGE, "all_tenants", "volume_id", "instance_id"),
        first=attachments.FIRST,
    ),
    "GET /attachments/detail": Described(
        "List attachments with all facts.",
        reply=listed("attachments", shown(attachments.ATTACHMENT)),
        query=(*_PAGE, "all_tenants", "volume_id", "instance_id"),
        first=attachments.FIRST,
    ),
    "GET /attachments/<ref>": Described(
        "Show an attachment.",
        reply=within("attachment", shown(attachments.ATTACHMENT)),
        first=attachments.FIRST,
    ),
    "POST /attachments": Described(
        "Make an attachment.",
        body=refused.AttachmentBody,
        support=REFUSED,
        note=refused.ATTACHING,
        first=attachments.FIRST,
    ),
    # What there is none of
    "POST /snapshots": Described(
        "Make a snapshot.", body=refused.SnapshotBody, support=REFUSED, note=refused.SNAPSHOTS
    ),
    "POST /backups": Described(
        "Make a backup.", body=refused.BackupBody, support=REFUSED, note=refused.BACKUPS
    ),
}

for _noun in ("snapshots", "backups"):
    for _path in (f"GET /{_noun}", f"GET /{_noun}/detail"):
        TABLE[_path] = Described(
            f"List {_noun}.", reply=plain(record(**{_noun: shapes.NOTHING})), note=_NEVER_MADE
        )
    for _method in ("GET", "PUT", "DELETE"):
        TABLE[f"{_method} /{_noun}/<ref>"] = Described(
            f"Show, change or delete one of the {_noun}.",
            support=REFUSED,
            note=f"404: {_NEVER_MADE}",
        )

for _root, _first in transfers.PATHS:
    TABLE |= {
        f"GET {_root}": Described(
            "List transfers.",
            reply=listed("transfers", shown(documents.TRANSFER_ITEM)),
            query=(*_PAGE, "all_tenants"),
            first=_first,
        ),
        f"GET {_root}/detail": Described(
            "List transfers with all facts.",
            reply=listed("transfers", shown(documents.TRANSFER)),
            query=(*_PAGE, "all_tenants"),
            first=_first,
        ),
        f"POST {_root}": Described(
            "Offer a volume to whoever has the key.",
            body=transfers.OfferBody,
            reply=within("transfer", documents.transfer_made),
            status=202,
            first=_first,
        ),
        f"GET {_root}/<transfer_id>": Described(
            "Show a transfer.", reply=within("transfer", shown(documents.TRANSFER)), first=_first
        ),
        f"DELETE {_root}/<transfer_id>": Described("Take it back.", status=202, first=_first),
        f"POST {_root}/<transfer_id>/accept": Described(
            "Take the volume.",
            body=transfers.AcceptBody,
            reply=within("transfer", shown(documents.TRANSFER_ITEM)),
            status=202,
            first=_first,
        ),
    }

REFERENCE = Reference("Volume", "/volume/v3", TABLE, shapes.FAULT, (MINIMUM, MAXIMUM), major=3)
