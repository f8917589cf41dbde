"""Quota sets: a project's limits one by one, with what is used of each."""

from __future__ import annotations

from typing import Any

from cyclades_tx.api.compute.documents import NUMBER, TEXT, record
from cyclades_tx.api.compute.limits import METADATA_ITEMS, maximum, used
from cyclades_tx.api.compute.routes import Routes
from cyclades_tx.api.documents import Document, Member, one
from cyclades_tx.api.frame import Call, Reply
from cyclades_tx.errors import Forbidden, NotSupported
from cyclades_tx.flows.keypairs import MOST as KEY_PAIRS
from cyclades_tx.model import quota

_NETWORK_LAST = 35
_FILES_LAST = 56

#: Name, SQL of the limit, of what is used, of what is reserved, last microversion.
_FACTS: tuple[tuple[str, str, str, str, int | None], ...] = (
    *(
        (name, maximum(resource, unit), used(resource, unit, "used"),
         used(resource, unit, "reserved"), None)
        for name, resource, unit in (
            ("cores", quota.CPU, 1),
            ("instances", quota.VM, 1),
            ("ram", quota.RAM, quota.MIB),
        )
    ),
    ("key_pairs", str(KEY_PAIRS), "0", "0", None),
    ("metadata_items", str(METADATA_ITEMS), "0", "0", None),
    ("server_groups", "0", "0", "0", None),
    ("server_group_members", "0", "0", "0", None),
    ("injected_files", "5", "0", "0", _FILES_LAST),
    ("injected_file_content_bytes", "10240", "0", "0", _FILES_LAST),
    ("injected_file_path_bytes", "255", "0", "0", _FILES_LAST),
    ("fixed_ips", "-1", "0", "0", _NETWORK_LAST),
    ("floating_ips", maximum(quota.FLOATING_IP), used(quota.FLOATING_IP, 1, "used"),
     used(quota.FLOATING_IP, 1, "reserved"), _NETWORK_LAST),
    ("security_groups", "-1", "0", "0", _NETWORK_LAST),
    ("security_group_rules", "-1", "0", "0", _NETWORK_LAST),
)  # fmt: skip

_ID = Member("id", "given.project_id", TEXT)

QUOTA_SET = Document(
    "QuotaSet",
    (_ID, *(Member(name, limit, NUMBER, last=last) for name, limit, _, _, last in _FACTS)),
)

QUOTA_SET_DETAIL = Document(
    "QuotaSetDetail",
    (
        _ID,
        *(
            Member(
                name,
                f"json_build_object('limit', {limit}, 'in_use', {in_use}, 'reserved', {reserved})",
                record(limit=NUMBER, in_use=NUMBER, reserved=NUMBER),
                last=last,
            )
            for name, limit, in_use, reserved, last in _FACTS
        ),
    ),
)


def mount(routes: Routes, database: Any) -> None:
    """Add the endpoints."""

    async def answer(call: Call, project_id: str, document: Document) -> bytes:
        if project_id != call.who.project_id and not call.who.admin:
            raise Forbidden("Policy does not allow this request to be performed.")
        body: bytes = await database.document(
            f"select {one('quota_set', document.text(call.minor))}"
            " from (select %s::text as project_id) as given",
            (project_id,),
        )
        return body

    async def show(call: Call, project_id: str) -> bytes:
        return await answer(call, project_id, QUOTA_SET)

    async def show_detail(call: Call, project_id: str) -> bytes:
        return await answer(call, project_id, QUOTA_SET_DETAIL)

    async def change(call: Call, project_id: str) -> Reply:
        raise NotSupported("The quotas of a project are changed by the operators' commands.")

    routes.add("GET", "/os-quota-sets/<project_id>", show)
    routes.add("GET", "/os-quota-sets/<project_id>/detail", show_detail)
    # Operators set the limits of each project; what it has is its default.
    routes.add("GET", "/os-quota-sets/<project_id>/defaults", show)
    routes.add("PUT", "/os-quota-sets/<project_id>", change, admin=True)
    routes.add("DELETE", "/os-quota-sets/<project_id>", change, admin=True)
