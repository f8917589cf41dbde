"""What PostgreSQL reads for a list: the page, neither the rows before it nor those of others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest

from bench import crowd, plans
from bench.statements import list_of, statement_of
from cyclades_tx.model.who import ADMIN, MEMBER, Who
from cyclades_tx.store.embedded import EmbeddedPostgres
from cyclades_tx.store.pool import full_dsn

LIMIT = 50
OURS, BIG, USER = "a" * 32, "b" * 32, "c" * 32
OWN, MANY, OTHERS, PROJECTS = 200, 2000, 4000, 400
#: The table of each list, its path, and the order of its rows.
LISTS = {
    "servers": ("server", "/compute/v2.1/servers/detail", "created_at desc, id desc"),
    "networks": ("network", "/network/v2.0/networks", "id"),
    "ports": ("port", "/network/v2.0/ports", "id"),
}
PLANS = (plans.CUSTOM, plans.GENERIC)


@pytest.fixture(scope="module")
def filled(
    postgres: EmbeddedPostgres, template: str, administer: Callable[[str], None]
) -> Iterator[Any]:
    """A connection as the service has them, to a database with rows of many projects."""
    administer(f"create database test_plans template {template} strategy file_copy")
    connection = psycopg2.connect(full_dsn(postgres.dsn("test_plans"), "test"))
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "insert into volume_type (name, disk_template) values ('file', 'file');"
            "insert into flavor (name, vcpus, memory_mib, disk_gib, volume_type_id)"
            " select 'tiny', 1, 128, 1, id from volume_type;"
            "insert into image (name, status, visibility, disk_format, container_format)"
            " values ('debian', 'active', 'public', 'diskdump', 'bare');"
            "insert into network (name, flavor, mode, link, mac_prefix, shared)"
            " values ('shared', 'CUSTOM', 'bridged', 'br0', 'aa:00:0', true)"
        )
    others = {f"{number:032x}": OTHERS // PROJECTS for number in range(1, PROJECTS + 1)}
    crowd.fill(connection, {OURS: OWN, BIG: MANY, **others}, USER)
    yield connection
    connection.close()
    administer("drop database test_plans with (force)")


def reading(
    connection: Any, target: str, plan: str, project_id: str = OURS, role: str = MEMBER
) -> plans.Reading:
    """What the statement of a list reads, once it was run before."""
    who = Who(USER, "", project_id, "", frozenset((role,)))
    statement = statement_of(list_of(target), target, who, 96, "http://cloud.example")
    plans.read(connection, statement, plan)
    return plans.read(connection, statement, plan)


def uuid_at(connection: Any, name: str, project_id: str, offset: int) -> str:
    """The id of a row at a place of a project's list."""
    table, _, order = LISTS[name]
    with connection.cursor() as cursor:
        cursor.execute(
            f"select uuid::text from {table} where project_id = %s order by {order}"
            " offset %s limit 1",
            (project_id, offset),
        )
        return str(cursor.fetchone()[0])


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("offset", [None, 100], ids=["front", "middle"])
def test_a_page_reads_its_own_rows(filled: Any, name: str, plan: str, offset: int | None) -> None:
    """Of every table not more than a few rows for each thing on the page."""
    target = f"{LISTS[name][1]}?limit={LIMIT}"
    if offset is not None:
        target += f"&marker={uuid_at(filled, name, OURS, offset)}"
    seen = reading(filled, target, plan)
    assert seen.rows[LISTS[name][0]] >= LIMIT
    assert {table: rows for table, rows in seen.rows.items() if rows > 4 * (LIMIT + 1)} == {}


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("role", [MEMBER, ADMIN])
def test_a_page_costs_the_same_at_the_front_and_at_the_end(
    filled: Any, name: str, plan: str, role: str
) -> None:
    """In blocks that are read, with a project's own rows and with everybody's."""
    target = f"{LISTS[name][1]}?limit={LIMIT}"
    if role == ADMIN and name == "servers":
        target += "&all_tenants=1"
    front = reading(filled, target, plan, BIG, role)
    marker = uuid_at(filled, name, BIG, MANY - LIMIT - 1)
    end = reading(filled, f"{target}&marker={marker}", plan, BIG, role)
    assert end.buffers <= 1.1 * front.buffers
    for seen in (front, end):
        # Each once for the page and once for its document, one more that tells of the next page
        # and the marker: of a project with a third of all rows as well.
        assert 2 * LIMIT <= seen.rows[LISTS[name][0]] <= 2 * (LIMIT + 1)


@pytest.mark.parametrize("plan", PLANS)
def test_a_page_backwards_reads_its_own_rows(filled: Any, plan: str) -> None:
    """From the middle of a long list to its front."""
    marker = uuid_at(filled, "ports", BIG, MANY // 2)
    target = f"{LISTS['ports'][1]}?limit={LIMIT}&page_reverse=True&marker={marker}"
    seen = reading(filled, target, plan, BIG)
    assert 2 * LIMIT <= seen.rows["port"] <= 2 * (LIMIT + 1)


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("servers", "status=ACTIVE"),
        ("servers", "name=server&sort_key=display_name&sort_dir=asc"),
        ("servers", "ip=192"),
        ("servers", "changes-since=2020-01-01T00:00:00Z"),
        ("networks", "name=net-77"),
        ("networks", "sort_key=name&sort_dir=desc"),
        ("networks", "tags=red"),
        ("ports", "device_id="),
        ("ports", "network_id={network}"),
        ("ports", "device_id={server}"),
        ("ports", "fixed_ips=ip_address%3D192.168.7.10"),
        ("ports", "sort_key=mac_address&sort_dir=asc"),
    ],
    ids=lambda value: value.partition("=")[0] if "=" in value else value,
)
def test_a_filter_reads_no_rows_of_other_projects(filled: Any, name: str, query: str) -> None:
    """What no index answers is looked for among the project's own rows, however it is sorted."""
    table, path, _ = LISTS[name]
    query = query.format(
        network=uuid_at(filled, "networks", OURS, 7), server=uuid_at(filled, "servers", OURS, 7)
    )
    seen = reading(filled, f"{path}?limit={LIMIT}&{query}", plans.CUSTOM)
    assert seen.rows[table] > 0 or "tags" in query or query == "device_id="
    assert {each: rows for each, rows in seen.rows.items() if rows > 4 * OWN} == {}
