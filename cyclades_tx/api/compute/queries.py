"""Words of a query that a request does not know: refused from microversion 2.75 on.

As in Nova's history of microversions, "2.75": until then they have no effect.
"""

from __future__ import annotations

from cyclades_tx.api.call import Call, Handler, Reply
from cyclades_tx.api.compute.openapi import TABLE
from cyclades_tx.errors import BadRequest

STRICT_FIRST = 75

#: The requests that look at every word.
_STRICT = (
    "GET /servers",
    "GET /servers/detail",
    "GET /servers/<server_id>/os-volume_attachments",
    "GET /flavors",
    "GET /flavors/detail",
    "GET /flavors/<flavor_id>/os-flavor-access",
    "GET /flavors/<flavor_id>/os-extra_specs",
    "GET /os-keypairs",
    "GET /os-keypairs/<name>",
    "DELETE /os-keypairs/<name>",
    "GET /limits",
    "GET /os-quota-sets/<project_id>",
    "GET /os-quota-sets/<project_id>/detail",
    "DELETE /os-quota-sets/<project_id>",
    "GET /os-server-groups",
    "GET /os-services",
    "GET /os-simple-tenant-usage",
    "GET /os-simple-tenant-usage/<project_id>",
)
#: What Nova takes of a list of servers though here it has no effect.
_OF_SERVERS = (
    "access_ip_v4", "access_ip_v6", "auto_disk_config", "created_at", "disable_terminate",
    "display_description", "display_name", "ephemeral_gb", "image_ref", "instance_type_id",
    "kernel_id", "launch_index", "launched_at", "locked_by", "memory_mb", "progress",
    "ramdisk_id", "root_device_name", "root_gb", "soft_deleted", "tenant_id", "terminated_at",
    "updated_at", "user_data", "vcpus",
)  # fmt: skip
_MORE = {
    "GET /servers": _OF_SERVERS,
    "GET /servers/detail": _OF_SERVERS,
    "GET /servers/<server_id>/os-volume_attachments": ("limit", "offset"),
    "GET /limits": ("reserved",),
}
_KNOWN = {
    request: frozenset((*TABLE[request].query, *_MORE.get(request, ()))) for request in _STRICT
}


def strict(request: str, handler: Handler) -> Handler:
    """The same endpoint, which looks at every word of the query.

    :param request: its method and path below the version, as in the OpenAPI table.
    """
    known = _KNOWN.get(request)
    if known is None:
        return handler

    async def handle(call: Call, **arguments: str) -> Reply | bytes:
        if call.minor >= STRICT_FIRST:
            for name in call.request.args:
                word = name.decode("utf-8", "replace")
                if word not in known:
                    raise BadRequest(
                        f"Invalid input for query parameters. Additional properties are not"
                        f" allowed ({word[:100]!r} was unexpected)"
                    )
        return await handler(call, **arguments)

    return handle
