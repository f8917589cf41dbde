"""What Compute's OpenAPI document says of what Compute once passed on to other services."""

from __future__ import annotations

from dataclasses import replace

from cyclades_tx.api import metadata
from cyclades_tx.api.compute import (
    floating_ips,
    images,
    networks,
    proxies,
    security_groups,
    shapes,
)
from cyclades_tx.api.compute.documents import array, record
from cyclades_tx.api.openapi import REFUSED, Described, listed, plain, shown, within

_PART = ("limit", "offset")
_GROUP = plain(record(security_group=shapes.SECURITY_GROUP))
_IMAGE = within("image", shown(images.IMAGE))
_FLOATING_IP = within("floating_ip", shown(floating_ips.FLOATING_IP))

_TABLE: dict[str, Described] = {
    "GET /os-floating-ip-pools": Described(
        "List the networks that give floating IPs.",
        reply=listed("floating_ip_pools", shown(floating_ips.POOL)),
        query=_PART,
    ),
    "GET /os-floating-ips": Described(
        "List floating IPs.",
        reply=listed("floating_ips", shown(floating_ips.FLOATING_IP)),
        query=_PART,
    ),
    "POST /os-floating-ips": Described(
        "Keep an address for the project.", body=floating_ips.Body, reply=_FLOATING_IP
    ),
    "GET /os-floating-ips/<floating_ip_id>": Described("Show a floating IP.", reply=_FLOATING_IP),
    "DELETE /os-floating-ips/<floating_ip_id>": Described("Give a floating IP back.", status=202),
    "GET /os-security-groups": Described(
        "List security groups.",
        reply=plain(record(security_groups=array(shapes.SECURITY_GROUP))),
        query=(*_PART, "all_tenants"),
    ),
    "POST /os-security-groups": Described(
        "Make a security group.", body=security_groups.NewGroupBody, reply=_GROUP
    ),
    "GET /os-security-groups/<group_id>": Described("Show a security group.", reply=_GROUP),
    "PUT /os-security-groups/<group_id>": Described(
        "Change name and description.", body=security_groups.ChangedGroupBody, reply=_GROUP
    ),
    "DELETE /os-security-groups/<group_id>": Described("Delete a security group.", status=202),
    "POST /os-security-group-rules": Described(
        "Let something in.",
        body=security_groups.NewRuleBody,
        reply=plain(record(security_group_rule=shapes.RULE)),
    ),
    "DELETE /os-security-group-rules/<rule_id>": Described("Take a rule away.", status=202),
    "GET /os-networks": Described(
        "List networks.", reply=listed("networks", shown(networks.NETWORK)), query=_PART
    ),
    "GET /os-networks/<network_id>": Described(
        "Show a network.", reply=within("network", shown(networks.NETWORK))
    ),
    "GET /os-tenant-networks": Described(
        "List networks.", reply=listed("networks", shown(networks.PROJECT_NETWORK)), query=_PART
    ),
    "GET /os-tenant-networks/<network_id>": Described(
        "Show a network.", reply=within("network", shown(networks.PROJECT_NETWORK))
    ),
    "GET /images": Described(
        "List images.",
        reply=listed("images", shown(images.IMAGE_ITEM), "images_links"),
        query=images.QUERY,
    ),
    "GET /images/detail": Described(
        "List images with all facts.",
        reply=listed("images", shown(images.IMAGE), "images_links"),
        query=images.QUERY,
    ),
    "GET /images/<image_id>": Described("Show an image.", reply=_IMAGE),
    "DELETE /images/<image_id>": Described("Delete an image.", status=204),
    "GET /images/<image_id>/metadata": Described("Show the metadata.", reply=shapes.METADATA),
    "POST /images/<image_id>/metadata": Described(
        "Add metadata.", body=metadata.All, reply=shapes.METADATA
    ),
    "PUT /images/<image_id>/metadata": Described(
        "Replace the metadata.", body=metadata.All, reply=shapes.METADATA
    ),
    "GET /images/<image_id>/metadata/<key>": Described("Show an item.", reply=shapes.META),
    "PUT /images/<image_id>/metadata/<key>": Described(
        "Set an item.", body=metadata.One, reply=shapes.META
    ),
    "DELETE /images/<image_id>/metadata/<key>": Described("Delete an item.", status=204),
    **{
        f"{method} {path}": Described(
            "Change networks.",
            support=REFUSED,
            note="410: networks are changed at the Network service.",
        )
        for method, path in networks.GONE
    },
}


def _last(request: str) -> int:
    """The last microversion that has it."""
    of_metadata = "/images/<image_id>/metadata" in request
    return proxies.IMAGE_METADATA_LAST if of_metadata else proxies.LAST


TABLE = {request: replace(said, last=_last(request)) for request, said in _TABLE.items()}
