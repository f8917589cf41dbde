"""Identity: which file answers which path."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cyclades_tx.api import openapi
from cyclades_tx.api.call import Call, Handler, Service
from cyclades_tx.api.errors import keystone_fault
from cyclades_tx.api.frame import Frame
from cyclades_tx.api.identity import catalog as catalog_views
from cyclades_tx.api.identity import versions
from cyclades_tx.api.identity.address import ClientAddress
from cyclades_tx.api.identity.application_credentials import Credentials
from cyclades_tx.api.identity.auth import Auth
from cyclades_tx.api.identity.openapi import REFERENCE
from cyclades_tx.api.identity.projects import Projects
from cyclades_tx.api.identity.roles import Roles
from cyclades_tx.api.identity.users import Users
from cyclades_tx.flows.application_credentials import ApplicationCredentials
from cyclades_tx.flows.identity import People
from cyclades_tx.identity.catalog import Catalog
from cyclades_tx.identity.local import LocalIdentity

ROOT = "/identity/v3"


def _vary(call: Call) -> None:
    call.headers["vary"] = "X-Auth-Token"


SERVICE = Service("identity", keystone_fault, _vary)


def mount(
    frame: Frame,
    database: Any,
    identity: LocalIdentity,
    people: People,
    credentials: ApplicationCredentials,
    catalog: Catalog,
    *,
    trusted_proxies: Iterable[str] = (),
) -> None:
    """Add all of Identity to the frame.

    :param database: an IDatabase.
    :param catalog: with the same public URL as the frame's.
    :param trusted_proxies: addresses or networks whose ``X-Forwarded-For`` is believed.
    """
    address = ClientAddress(trusted_proxies)
    frame.mount("/identity", SERVICE)

    def open_to_all(method: str, path: str, handler: Handler) -> None:
        frame.endpoint(SERVICE, method, path, handler, token=False)

    def add(method: str, path: str, handler: Handler, **options: Any) -> None:
        # Readers may manage their own logins; all else that changes is for administrators.
        options.setdefault("scoped", False)
        frame.endpoint(SERVICE, method, ROOT + path, handler, **options)

    def administer(method: str, path: str, handler: Handler) -> None:
        add(method, path, handler, admin=True)

    open_to_all("GET", "/identity", versions.show_all)
    open_to_all("GET", ROOT, versions.show)

    auth = Auth(database, identity, catalog, address)
    open_to_all("POST", f"{ROOT}/auth/tokens", auth.issue)
    add("GET", "/auth/tokens", auth.show)
    add("DELETE", "/auth/tokens", auth.revoke)
    add("GET", "/auth/catalog", auth.show_catalog, scoped=True)
    add("GET", "/auth/projects", auth.list_projects)
    add("GET", "/auth/domains", auth.list_domains)

    projects = Projects(database, people)
    add("GET", "/projects", projects.list)
    administer("POST", "/projects", projects.create)
    add("GET", "/projects/<project_id>", projects.show)
    administer("PATCH", "/projects/<project_id>", projects.update)
    administer("DELETE", "/projects/<project_id>", projects.delete)
    held = "/projects/<project_id>/users/<user_id>/roles"
    administer("GET", held, projects.list_roles)
    administer("GET", f"{held}/<role_id>", projects.check_role)
    administer("PUT", f"{held}/<role_id>", projects.assign_role)
    administer("DELETE", f"{held}/<role_id>", projects.remove_role)

    users = Users(database, people, identity, address)
    add("GET", "/users", users.list)
    administer("POST", "/users", users.create)
    add("GET", "/users/<user_id>", users.show)
    administer("PATCH", "/users/<user_id>", users.update)
    administer("DELETE", "/users/<user_id>", users.delete)
    open_to_all("POST", f"{ROOT}/users/<user_id>/password", users.change_password)
    add("GET", "/users/<user_id>/projects", users.list_projects)
    add("GET", "/users/<user_id>/groups", users.list_groups)
    add("GET", "/users/<user_id>/access_rules", users.list_access_rules)
    administer("GET", "/groups", users.list_all_groups)

    own = Credentials(database, credentials)
    path = "/users/<user_id>/application_credentials"
    add("GET", path, own.list)
    # A reader may make a credential: it reads only.
    add("POST", path, own.create, scoped=True, write=False)
    add("GET", f"{path}/<credential_id>", own.show)
    add("DELETE", f"{path}/<credential_id>", own.delete)

    roles = Roles(database, people)
    add("GET", "/roles", roles.list)
    administer("POST", "/roles", roles.create)
    add("GET", "/roles/<role_id>", roles.show)
    administer("PATCH", "/roles/<role_id>", roles.rename)
    administer("DELETE", "/roles/<role_id>", roles.delete)
    add("GET", "/role_assignments", roles.list_assignments)

    for collection, kind, items in (
        ("domains", "domain", lambda: catalog_views.domains(catalog)),
        ("services", "service", catalog.services),
        ("endpoints", "endpoint", catalog.endpoints),
        ("regions", "region", catalog.regions),
    ):
        add("GET", f"/{collection}", catalog_views.listed(collection, items))
        add("GET", f"/{collection}/<item_id>", catalog_views.shown(kind, items))
    openapi.mount(frame, SERVICE, REFERENCE)
