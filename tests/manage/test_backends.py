"""Clusters: adding, changing, removing them, over the command line and in the core."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cyclades_tx.errors import BadRequest, Conflict, NotFound
from cyclades_tx.flows.clusters import Fleet, NewCluster
from cyclades_tx.flows.networks import WantedNetwork
from cyclades_tx.ganeti.clusters import PASSWORD_KIND
from cyclades_tx.ganeti.interfaces import GanetiRefused, GanetiUnavailable
from cyclades_tx.manage.backends import fleet
from cyclades_tx.store.operator_lists import CLUSTERS
from cyclades_tx.testing import builders

Manage = Callable[..., Any]


def unchecked(name: str = "c1.example.org", **others: Any) -> NewCluster:
    """A cluster that nobody will ask."""
    return NewCluster(**{"name": name, "username": "u", "password": "p", **others})


def wanted(simulated: Any, **others: Any) -> NewCluster:
    """The simulated cluster as one to add."""
    name, password = simulated.writer
    return NewCluster(
        **{
            "name": "ganeti1.example.org",
            "username": name,
            "password": password,
            "host": "127.0.0.1",
            "port": simulated.port,
            "scheme": "http",
            **others,
        }
    )


@pytest.fixture
def ours(world: Any) -> Fleet:
    """The flows under test."""
    return fleet(world)


async def test_add_with_the_password_on_standard_input(
    manage: Manage, simulated: Any, world: Any
) -> None:
    """A cluster is added drained, with what it says of itself, and its password sealed."""
    secret = simulated.writer[1]
    said = await manage(
        "backend-add", *simulated.options(), "--password-stdin", "--output-format", "json",
        given=secret.encode() + b"\n",
    )  # fmt: skip
    assert said.code == 0, said.err
    shown = json.loads(said.out)
    assert (shown["drained"], shown["answers"], shown["hypervisor"]) == (True, True, "kvm")
    assert shown["mem_total_mib"] > 0
    row = await world.database.first("select * from cluster")
    assert secret.encode() not in bytes(row.rapi_password)
    opened = world.keyring.decrypt(PASSWORD_KIND, str(row.uuid), row.rapi_password)
    assert opened == secret
    fields = ",".join(column.name for column in CLUSTERS.columns)
    everything = await manage("backend-list", "--output-format", "json", "-o", fields)
    assert everything.code == 0, everything.err
    assert secret not in everything.out + said.out + said.err


async def test_the_seeds_pass_works_and_warns(manage: Manage, simulated: Any) -> None:
    """--pass is taken, and the operator is told what is wrong with it."""
    said = await manage("backend-add", *simulated.options(), f"--pass={simulated.writer[1]}")
    assert said.code == 0, said.err
    assert "Warning" in said.err
    assert simulated.writer[1] not in said.err + said.out


async def test_a_password_file_that_others_can_read_is_refused(
    manage: Manage, simulated: Any, tmp_path: Path
) -> None:
    """A secret file has mode 0600 or it is not used."""
    file = tmp_path / "password"
    file.write_text(simulated.writer[1])
    file.chmod(0o644)
    said = await manage("backend-add", *simulated.options(), "--password-file", str(file))
    assert said.code == 1
    assert "0600" in said.err
    file.chmod(0o600)
    said = await manage("backend-add", *simulated.options(), "--password-file", str(file))
    assert said.code == 0, said.err


async def test_without_any_password_it_is_usage(manage: Manage, simulated: Any) -> None:
    """A script that forgot the password is told how to give one, and does not hang."""
    said = await manage("backend-add", *simulated.options(), given=b"")
    assert said.code == 2
    assert "--password-file" in said.err


async def test_a_wrong_password_is_told_and_nothing_is_stored(
    ours: Fleet, simulated: Any, world: Any
) -> None:
    """The cluster's no is passed on in plain words, without the password."""
    with pytest.raises(GanetiRefused) as caught:
        await ours.add(wanted(simulated, password="wrong-secret"))
    assert "does not take the user" in caught.value.message
    assert "wrong-secret" not in caught.value.message
    assert await world.database.value("select count(*) from cluster") == 0


async def test_a_user_that_may_only_read_is_refused(ours: Fleet, simulated: Any) -> None:
    """Reading credentials would fail at the first server; better now."""
    password = simulated.cluster.credentials.users["reader"][0]
    with pytest.raises(GanetiRefused):
        await ours.add(wanted(simulated, username="reader", password=password))


async def test_another_clusters_name_is_refused(ours: Fleet, simulated: Any) -> None:
    """Names are zones and end in URLs: a mix-up is told with both names."""
    with pytest.raises(BadRequest) as caught:
        await ours.add(wanted(simulated, name="ganeti2.example.org"))
    assert "ganeti1.example.org" in caught.value.message


async def test_a_hypervisor_that_is_not_enabled_is_refused(ours: Fleet, simulated: Any) -> None:
    """What the cluster does not have cannot be chosen."""
    with pytest.raises(BadRequest):
        await ours.add(wanted(simulated, hypervisor="xen-pvm"))


async def test_a_cluster_that_is_not_there(ours: Fleet) -> None:
    """A closed port is a sentence with the address."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        with pytest.raises(GanetiUnavailable) as caught:
            await ours.add(unchecked(host="127.0.0.1", port=port, scheme="http"))
    assert f"127.0.0.1:{port}" in caught.value.message


async def test_plain_http_over_a_network_is_refused(ours: Fleet) -> None:
    """A password never leaves this machine in clear."""
    with pytest.raises(BadRequest):
        await ours.add(unchecked(host="192.0.2.1", scheme="http"), check=False)


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "ä", "a\0b", "x" * 256, "a';--"])
async def test_names_that_no_cluster_has(ours: Fleet, name: str) -> None:
    """A wrong name is refused before anything is asked."""
    with pytest.raises(BadRequest):
        await ours.add(unchecked(name), check=False)


async def test_a_certificate_that_is_none_is_refused(ours: Fleet) -> None:
    """Pinning something else than a certificate would lock the cluster out."""
    with pytest.raises(BadRequest):
        await ours.add(unchecked(certificate="-----BEGIN NONSENSE-----"), check=False)


async def test_a_name_that_is_taken(ours: Fleet) -> None:
    """The second cluster of a name is a conflict."""
    await ours.add(unchecked(), check=False)
    with pytest.raises(Conflict):
        await ours.add(unchecked(), check=False)


async def test_positions_are_the_smallest_free_ones(ours: Fleet) -> None:
    """A removed cluster's place in MAC prefixes is given to the next."""
    rows = [await ours.add(unchecked(f"c{number}"), check=False) for number in range(3)]
    assert [row.position for row in rows] == [0, 1, 2]
    await ours.remove("c1")
    assert (await ours.add(unchecked("c9"), check=False)).position == 1


async def test_networks_are_being_made_on_a_new_cluster(ours: Fleet, world: Any) -> None:
    """What other clusters have, the new one will have; its driver is woken."""
    await world.networks.create(None, WantedNetwork(name="n", shared=True))
    row = await ours.add(unchecked(), check=False)
    found = await world.database.first("select state, mac_prefix from cluster_network")
    assert (found.state, found.mac_prefix) == ("making", "aa:00:00")
    kind = await world.database.value(
        "select kind from operation where cluster_id = %s and finished_at is null", (row.id,)
    )
    assert kind == "make_network"


async def test_draining_leaves_credentials_alone(ours: Fleet, world: Any, sleep: Any) -> None:
    """A change that is no credential makes no new clients, but drivers hear of it."""
    row = await ours.add(unchecked(), check=False)
    heard: list[str] = []
    stop = world.database.listen("cyclades_clusters", heard.append)
    for _ in range(1200):
        changed = await ours.modify("c1.example.org", {"drained": False})
        if heard:
            break
        await sleep(0.05)
    stop()
    assert not changed.drained
    assert changed.credentials_version == row.credentials_version
    assert heard[0] == str(row.id)


async def test_new_credentials_are_checked_and_counted(
    ours: Fleet, simulated: Any, world: Any
) -> None:
    """A new password is tried first; when it works the clients are made anew."""
    row = await ours.add(wanted(simulated))
    with pytest.raises(GanetiRefused):
        await ours.modify(str(row.id), {}, password="wrong")
    changed = await ours.modify(str(row.id), {}, password=simulated.writer[1])
    assert changed.credentials_version == row.credentials_version + 1
    same = await ours.modify(str(row.id), {"rapi_port": simulated.port})
    assert same.credentials_version == changed.credentials_version


async def test_a_cluster_with_servers_stays(ours: Fleet, world: Any) -> None:
    """A cluster is removed when its last server is gone, and what was there is forgotten."""
    row = await ours.add(unchecked(), check=False)
    who = await builders.somebody(world.database)
    flavor = await builders.a_flavor(world.database)
    server = await builders.a_server(world.database, who, flavor, cluster_id=row.id)
    with pytest.raises(Conflict) as caught:
        await ours.remove(str(row.id))
    assert "1 server" in caught.value.message
    await world.database.run(
        "update server set state = 'deleted', deleted_at = now(), charge = 'none' where id = %s",
        (server.id,),
    )
    await ours.remove(str(row.id))
    assert await world.database.value("select count(*) from cluster") == 0
    with pytest.raises(NotFound):
        await ours.find(str(row.id))


async def test_update_status_reports_each_cluster(
    manage: Manage, ours: Fleet, simulated: Any
) -> None:
    """One dead cluster does not hide the other's numbers, and the exit code tells."""
    await ours.add(wanted(simulated))
    await ours.add(unchecked("dead", host="127.0.0.1", port=1, scheme="http"), check=False)
    await ours.add(unchecked("away"), check=False)
    await ours.modify("away", {"offline": True})
    said = await manage("backend-update-status", "--output-format", "json")
    assert said.code == 1
    found = {each["clustername"]: each["result"] for each in json.loads(said.out)}
    assert found == {"ganeti1.example.org": "ok", "dead": "failed"}


async def test_projects_get_clusters_of_their_own(manage: Manage, ours: Fleet, world: Any) -> None:
    """A mapping is made once, listed, and removed."""
    await ours.add(unchecked(), check=False)
    await world.people.create_project("p")
    given = ("--project", "p", "--backend", "c1.example.org")
    assert (await manage("project-backend-add", *given)).code == 0
    assert (await manage("project-backend-add", *given)).code == 1
    listed = await manage("project-backend-list", "-o", "project,clustername", "--no-headers")
    assert listed.out.split() == ["p", "c1.example.org"]
    assert (await manage("project-backend-remove", "--project", "p")).code == 0
    assert (await manage("project-backend-remove", *given)).code == 1


@pytest_twisted.async_yield_fixture
async def secured(simulated: Any, tmp_path: Path) -> Any:
    """The simulated cluster behind TLS with a certificate that it signed itself."""
    from twisted.internet import reactor, ssl
    from twisted.web.server import Site

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ganeti")])
    begin = datetime(2020, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=36500))
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(Encoding.PEM)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    listening = reactor.listenSSL(  # type: ignore[attr-defined]
        0,
        Site(simulated.cluster.ganeti.resource()),
        ssl.PrivateCertificate.loadPEM(private + pem).options(),
        interface="127.0.0.1",
    )
    file = tmp_path / "ganeti.pem"
    file.write_bytes(pem)
    yield listening.getHost().port, file, certificate.fingerprint(hashes.SHA256()).hex()
    await listening.stopListening()


async def test_a_self_signed_certificate_must_be_pinned(
    manage_apart: Manage, simulated: Any, secured: Any, world: Any
) -> None:
    """Nobody's signature is refused with a hint; the right fingerprint is fetched and pinned."""
    port, file, fingerprint = secured
    options = simulated.options(port=str(port), scheme="https")
    secret = simulated.writer[1].encode()
    bare = await manage_apart("backend-add", *options, "--password-stdin", given=secret)
    assert bare.code == 1
    assert "--fingerprint" in bare.err
    options.append("--password-stdin")
    other = await manage_apart("backend-add", *options, "--fingerprint", "ab" * 32, given=secret)
    assert other.code == 1
    assert fingerprint in other.err
    words = ("backend-add", *options, "--fingerprint", fingerprint.upper())
    good = await manage_apart(*words, given=secret)
    assert good.code == 0, good.err
    pinned = await world.database.value("select certificate from cluster")
    assert pinned.strip() == file.read_text().strip()


async def test_a_pinned_certificate_from_a_file(
    manage: Manage, simulated: Any, secured: Any
) -> None:
    """A cluster is known by the certificate of a file."""
    port, file, _ = secured
    options = simulated.options(port=str(port), scheme="https")
    said = await manage("backend-add", *options, "--password-stdin", "--certificate-file",
                        str(file), given=simulated.writer[1].encode())  # fmt: skip
    assert said.code == 0, said.err
