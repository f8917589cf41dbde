"""The extensions of Network that are done, and nothing else: clients choose by them."""

from __future__ import annotations

from typing import Any

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.errors import NotFound

_UPDATED = "2016-09-10T10:00:00-00:00"

_DONE = (
    ("external-net", "Neutron external network", "Networks that lead outside."),
    ("security-group", "security-group", "Groups of rules for the traffic of ports."),
    ("quotas", "Quota management support", "The limits of a project."),
    ("quota_details", "Quota details management support", "Limits, use and reservations."),
    ("quota-check-limit", "Quota limits checked", "Limits below what is used are refused."),
    ("provider", "Provider Network", "The flavor and the bridge, for administrators."),
    ("pagination", "Pagination support", "Lists by pages, with links."),
    ("sorting", "Sorting support", "Lists in a chosen order."),
    ("project-id", "project_id field enabled", "project_id beside tenant_id."),
    ("net-mtu", "Network MTU", "The MTU of a network."),
    ("standard-attr-tag", "Tag support", "Tags of things, and filters by them."),
    ("standard-attr-description", "standard-attr-description", "A description of each thing."),
    ("standard-attr-timestamp", "Resource timestamps", "When a thing was made and changed."),
    ("standard-attr-revisions", "Resource revision numbers", "How often a thing was changed."),
    ("revision-if-match", "If-Match constraints", "Changes that depend on the revision."),
    ("router", "Neutron L3 Router", "Routers; docs/networks.md says what is routed."),
    ("subnet_allocation", "Subnet Allocation", "Subnets from pools of prefixes."),
    ("default-subnetpools", "Default Subnetpools", "A pool for subnets that name none."),
    ("network-ip-availability", "Network IP Availability", "Used addresses of networks."),
    ("fip-port-details", "Floating IP Port Details Extension", "The port of a floating IP."),
)


def _document(alias: str, name: str, description: str) -> dict[str, Any]:
    return {
        "alias": alias,
        "name": name,
        "description": description,
        "updated": _UPDATED,
        "links": [],
    }


EXTENSIONS = {entry[0]: _document(*entry) for entry in _DONE}


async def list_extensions(_call: Call) -> Reply:
    """Every extension."""
    return Reply(200, {"extensions": list(EXTENSIONS.values())})


async def show_extension(_call: Call, alias: str) -> Reply:
    """One extension by its alias.

    :raise NotFound: for every alias that is not done.
    """
    found = EXTENSIONS.get(alias) or EXTENSIONS.get(alias.removesuffix(".json"))
    if found is None:
        raise NotFound(f"Extension with alias {alias} does not exist.", "extension")
    return Reply(200, {"extension": found})
