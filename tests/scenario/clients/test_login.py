"""Logging in, people, and the commands that concern no single service."""

from __future__ import annotations

import pytest

from tests.scenario.clients.people import Person
from tests.scenario.clients.table import for_administrators, rows, supported
from tests.scenario.conftest import Cloud

POLICY = "Policy does not allow this request to be performed."
pytestmark = pytest.mark.xdist_group("clients")

#: What the catalog has; volumes under two names.
TYPES = {"identity", "compute", "network", "image", "volumev3", "block-storage"}


@rows(
    supported("token issue", "POST identity/auth/tokens"),
    supported("token revoke T", "DELETE identity/auth/tokens"),
    supported("catalog list", "POST identity/auth/tokens"),
    supported("catalog show SERVICE", "POST identity/auth/tokens"),
    supported("versions show", "GET /compute → GET /network"),
    supported("conn.identity.get(/auth/tokens)", "GET identity/auth/tokens"),
    supported("conn.identity.get(/auth/catalog)", "GET identity/auth/catalog"),
    supported("conn.identity.get(/auth/projects)", "GET identity/auth/projects"),
    supported("conn.identity.get(/auth/domains)", "GET identity/auth/domains"),
)
def test_tokens_and_the_catalog(demo: Person) -> None:
    """A token is of use until it is revoked; the catalog has four services."""
    issued = demo.json("token issue")
    token = issued["id"]
    shown = demo.conn.identity.get("/auth/tokens", headers={"X-Subject-Token": token})
    assert shown["body"]["token"]["project"]["id"] == issued["project_id"]
    demo(f"token revoke {token}")
    why = demo.conn.identity.get.refused(
        "/auth/tokens", headers={"X-Subject-Token": token}, raise_exc=True, why="404"
    )
    assert "404" in why
    assert demo.column("catalog list", "Type") == sorted(TYPES)
    assert "/compute/v2.1" in demo("catalog show compute")
    found = demo.json("versions show")
    assert {each["Service Type"] for each in found} >= {"compute", "identity", "network", "image"}
    (compute,) = [
        each for each in found if (each["Service Type"], each["Version"]) == ("compute", "2.1")
    ]
    assert compute["Max Microversion"] == "2.96"
    catalog = demo.conn.identity.get("/auth/catalog")["body"]["catalog"]
    assert len(catalog) == len(TYPES)
    projects = demo.conn.identity.get("/auth/projects")["body"]["projects"]
    assert [each["name"] for each in projects] == ["demo"]
    domains = demo.conn.identity.get("/auth/domains")["body"]["domains"]
    assert domains == [], "nobody has a role in a whole domain"


@rows(
    supported("project list", "GET identity/projects → GET identity/users/U/projects"),
    supported("project show P", "GET identity/projects/P"),
    supported("user show U", "GET identity/users?name=U"),
    supported("group list --user U", "GET identity/users/U/groups"),
    supported("access rule list", "GET identity/users/U/access_rules"),
    for_administrators("group list", "GET identity/groups"),
)
def test_a_user_sees_oneself_and_no_others(demo: Person, admin: Person) -> None:
    """By name and by id."""
    assert demo.column("project list") == ["demo"]
    project = demo.json("project show demo")
    assert (project["name"], project["enabled"]) == ("demo", True)
    assert demo.json(f"project show {project['id']}")["name"] == "demo"
    assert demo.json("user show demo")["default_project_id"] == project["id"]
    demo.refused("project show admin", why=POLICY)
    demo.refused("user list", why=POLICY)
    demo.refused("project create other", why=POLICY)
    demo.refused("user create --project demo other", why=POLICY)
    assert demo("group list --user demo") == ""
    assert demo("access rule list") == ""
    assert admin("group list") == ""
    demo.refused("group list", why=POLICY)


@rows(
    supported(
        "application credential create NAME", "POST identity/users/U/application_credentials"
    ),
    supported("application credential list", "GET identity/users/U/application_credentials"),
    supported(
        "application credential show NAME",
        "GET identity/users/U/application_credentials/NAME"
        " → GET identity/users/U/application_credentials",
    ),
    supported(
        "application credential delete NAME", "DELETE identity/users/U/application_credentials/C"
    ),
)
def test_application_credentials(demo: Person, cloud: Cloud) -> None:
    """The secret is told once, and logs in without a password."""
    made = demo.json("application credential create --role reader --description d robot")
    assert len(made["Secret"]) > 20
    assert demo.column("application credential list") == ["robot"]
    shown = demo.json("application credential show robot")
    assert (shown["ID"], shown["Description"]) == (made["ID"], "d")
    assert "Secret" not in shown
    robot = demo.another(
        cloud.service.url,
        *("--os-auth-type", "v3applicationcredential"),
        f"--os-application-credential-id={made['ID']}",
        f"--os-application-credential-secret={made['Secret']}",
    )
    assert robot.json("token issue")["project_id"] == demo.json("token issue")["project_id"]
    demo("application credential delete robot")
    robot.refused("token issue", why="401")


@rows(
    for_administrators("project list --long", "GET identity/projects"),
    for_administrators("project create P", "POST identity/projects"),
    for_administrators("project set P", "PATCH identity/projects/P"),
    for_administrators("project delete P", "DELETE identity/projects/P"),
    for_administrators("user create --project P", "POST identity/users"),
    for_administrators("user set U", "PATCH identity/users/U"),
    for_administrators("user delete U", "DELETE identity/users/U"),
    for_administrators("user list", "GET identity/users"),
    for_administrators("user list --long", "GET identity/users"),
    supported("user password set", "POST identity/users/U/password"),
    for_administrators("role add --user U --project P", "PUT identity/projects/P/users/U/roles/R"),
    for_administrators(
        "role remove --user U --project P", "DELETE identity/projects/P/users/U/roles/R"
    ),
    for_administrators("role assignment list", "GET identity/role_assignments"),
)
def test_an_administrator_makes_a_project_and_its_user(admin: Person, cloud: Cloud) -> None:
    """Who gets a role can log in, changes the password, and loses it all."""
    admin("project create --description d crew")
    admin("project set --name team crew")
    assert admin.json("project show team")["description"] == "d"
    admin("user create --project team --password first-password-1 ann")
    admin("user set --email ann@example.org ann")
    found = {each["Name"]: each["Email"] for each in admin.json("user list --long")}
    assert found["ann"] == "ann@example.org"
    assert "ann" in admin.column("user list")
    admin("role add --user ann --project team member")
    held = admin.json("role assignment list --user ann --names")
    assert [(each["Role"], each["Project"]) for each in held] == [("member", "team@Default")]
    ann = admin.another(
        cloud.service.url,
        *("--os-username", "ann", "--os-password", "first-password-1"),
        *("--os-user-domain-name", "Default", "--os-project-domain-name", "Default"),
        *("--os-project-name", "team"),
    )
    ann("user password set --original-password first-password-1 --password second-password-2")
    ann.refused("token issue", why="401")
    admin("role remove --user ann --project team member")
    assert admin.json("role assignment list --user ann") == []
    admin("user delete ann")
    admin("project delete team")
    assert "team" not in admin.column("project list --long")


@rows(
    for_administrators("role create R", "POST identity/roles"),
    for_administrators("role set R", "PATCH identity/roles/R"),
    supported("role show R", "GET identity/roles?name=R"),
    supported("role list", "GET identity/roles"),
    for_administrators("role delete R", "DELETE identity/roles/R"),
    supported("domain list", "GET identity/domains"),
    supported("domain show D", "GET identity/domains/D"),
    supported("service list", "GET identity/services"),
    supported("service show S", "GET identity/services/S"),
    supported("endpoint list", "GET identity/endpoints"),
    supported("endpoint show E", "GET identity/endpoints/E"),
    supported("region list", "GET identity/regions"),
    supported("region show R", "GET identity/regions/R"),
)
def test_an_administrator_looks_at_roles_and_the_catalog(admin: Person) -> None:
    """Roles come and go; domain, services, endpoints and region are as they are."""
    admin("role create auditor")
    admin("role set --name checker auditor")
    assert admin.json("role show checker")["name"] == "checker"
    admin("role delete checker")
    assert admin.column("role list") == ["admin", "member", "reader"]
    assert admin.column("domain list") == ["Default"]
    assert admin.json("domain show default")["enabled"] is True
    services = admin.json("service list")
    assert {each["Type"] for each in services} == TYPES
    assert admin.json(f"service show {services[0]['ID']}")["type"] == services[0]["Type"]
    endpoints = admin.json("endpoint list")
    assert len(endpoints) == 3 * len(TYPES)
    assert admin.json(f"endpoint show {endpoints[0]['ID']}")["url"] == endpoints[0]["URL"]
    assert admin.column("region list", "Region") == ["RegionOne"]
    assert admin.json("region show RegionOne")["region"] == "RegionOne"


@rows(
    supported("limits show --absolute", "GET compute/limits?reserved=False"),
    supported("limits show --rate", "GET compute/limits"),
    supported(
        "availability zone list",
        "GET compute/os-availability-zone/detail → GET compute/os-availability-zone",
    ),
    supported("extension list --compute", "GET compute/extensions"),
    supported("extension list --network", "GET network/extensions"),
    supported("extension show ALIAS", "GET network/extensions/ALIAS"),
    supported("quota show --compute", "GET compute/os-quota-sets/P"),
    supported("quota show --network", "GET network/quotas/P"),
    supported("quota show", "GET compute/os-quota-sets/P → GET network/quotas/P"),
    supported("quota show --default", "GET compute/os-quota-sets/P/defaults"),
    supported(
        "quota show --usage", "GET compute/os-quota-sets/P/detail → GET network/quotas/P/details"
    ),
)
def test_limits_quotas_zones_and_extensions(demo: Person) -> None:
    """As every service tells them."""
    limits = {each["Name"]: each["Value"] for each in demo.json("limits show --absolute")}
    assert limits["instances"] == 100000
    assert demo("limits show --rate") == ""
    zones = demo.json("availability zone list --compute --long")
    assert {each["Zone Name"] for each in zones} == {"sim1.example.org", "sim2.example.org"}
    assert "Quotas" in demo.column("extension list --compute")
    assert "quotas" in demo.column("extension list --network", "Alias")
    assert demo.json("extension show quotas")["alias"] == "quotas"
    quotas = {each["Resource"]: each["Limit"] for each in demo.json("quota show")}
    assert quotas["instances"] == 100000
    assert quotas["networks"] > 0
    assert demo.json("quota show --compute")
    assert demo.json("quota show --network")
    assert demo.json("quota show --default")
    used = {each["Resource"]: each for each in demo.json("quota show --usage")}
    assert used["instances"]["Reserved"] == 0
