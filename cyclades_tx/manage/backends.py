"""Commands about Ganeti clusters, which operators call backends."""

from __future__ import annotations

import hmac
import re
import ssl
from hashlib import sha256
from pathlib import Path
from typing import Any

import click

from cyclades_tx.errors import BadRequest
from cyclades_tx.flows.clusters import HYPERVISORS, Fleet, NewCluster
from cyclades_tx.manage import secret_input, tables
from cyclades_tx.manage.options import PORT, TRUTH, WORD, list_command, output_format
from cyclades_tx.manage.runner import Failed, Settings
from cyclades_tx.store import listings
from cyclades_tx.store.operator_lists import CLUSTER_PROJECTS, CLUSTERS
from cyclades_tx.world import World

_MOST_PEM_BYTES = 65536
_FETCH_SECONDS = 10.0
_SHOWN = (
    "id,clustername,host,port,username,drained,offline,public,answers,hypervisor,disk_templates,"
    "mem_free_mib,mem_total_mib,disk_free_mib,disk_total_mib,cpus,instances"
)


def fleet(world: World) -> Fleet:
    """The flows of clusters in a world."""
    return Fleet(
        world.database,
        world.clusters,
        world.keyring,
        network_deadline_seconds=world.config.operations.deadline_seconds("make_network"),
    )


def _password_options(function: Any) -> Any:
    function = click.option(
        "--password-file", metavar="FILE", help="A file of mode 0600 with the RAPI password."
    )(function)
    function = click.option(
        "--password-stdin", is_flag=True, help="Read the RAPI password from standard input."
    )(function)
    return click.option(
        "--pass",
        "--password",
        "password",
        help="The RAPI password; warns, since others on this machine see it.",
    )(function)


def _tls_options(function: Any) -> Any:
    function = click.option(
        "--certificate-file",
        type=click.Path(),
        help="PEM of the certificate that the RAPI must show.",
    )(function)
    function = click.option(
        "--fingerprint", help="SHA-256 of that certificate, to fetch and pin it if it is this one."
    )(function)
    return click.option(
        "--scheme",
        type=click.Choice(("https", "http")),
        help="http: only for a simulated cluster on this machine.",
    )(function)


@click.command("backend-add")
@click.option(
    "--clustername",
    required=True,
    type=WORD,
    help="The cluster's name, as gnt-cluster info has it.",
)
@click.option("--host", type=WORD, help="Where its RAPI listens, if not at the cluster's name.")
@click.option("--port", type=PORT, default=5080, show_default=True, help="The RAPI's port.")
@click.option(
    "--user", "--username", "username", required=True, type=WORD, help="A RAPI user that may write."
)
@_password_options
@_tls_options
@click.option(
    "--hypervisor", type=click.Choice(HYPERVISORS), help="Default: the cluster's own default."
)
@click.option(
    "--public",
    type=TRUTH,
    default=True,
    show_default=True,
    help="Whether every project may use it.",
)
@click.option(
    "--hotplug",
    type=TRUTH,
    default=False,
    show_default=True,
    help="Whether it changes NICs and disks of running instances.",
)
@click.option(
    "--no-check",
    is_flag=True,
    help="Do not ask the cluster whether address and credentials are right.",
)
@output_format
@click.pass_obj
def add(
    settings: Settings,
    clustername: str,
    host: str | None,
    port: int,
    username: str,
    password: str | None,
    password_stdin: bool,
    password_file: str | None,
    certificate_file: str | None,
    fingerprint: str | None,
    scheme: str | None,
    hypervisor: str | None,
    public: bool,
    hotplug: bool,
    no_check: bool,
    form: str,
) -> None:
    """Add a Ganeti cluster; it begins drained, with all networks being made on it.

    Put servers on it with: snf-manage backend-modify --drained=False ID
    """
    secret = secret_input.get(
        "RAPI password", from_argv=password, from_stdin=password_stdin, from_file=password_file
    )
    assert secret is not None
    new = NewCluster(
        name=clustername,
        username=username,
        password=secret,
        host=host,
        port=port,
        scheme=scheme or "https",
        certificate=_certificate(certificate_file, fingerprint, host or clustername, port),
        hypervisor=hypervisor,
        public=public,
        hotplug=hotplug,
    )

    async def work(world: World) -> dict[str, Any]:
        row = await fleet(world).add(new, check=not no_check)
        return await _shown(world, row.id)

    tables.show(tables.record(settings.run(work), form))


@click.command("backend-modify")
@click.argument("backend", type=WORD)
@click.option("--drained", type=TRUTH, help="True: no new servers.")
@click.option("--offline", type=TRUTH, help="True: it is not spoken to at all.")
@click.option("--public", type=TRUTH, help="Whether every project may use it.")
@click.option(
    "--hotplug", type=TRUTH, help="Whether it changes NICs and disks of running instances."
)
@click.option("--hypervisor", type=click.Choice(HYPERVISORS))
@click.option("--clustername", type=WORD, help="A new name.")
@click.option("--host", type=WORD, help="Where its RAPI listens.")
@click.option("--port", type=PORT, help="The RAPI's port.")
@click.option("--user", "--username", "username", type=WORD, help="A RAPI user that may write.")
@_password_options
@_tls_options
@click.option("--no-pin", is_flag=True, help="Verify the certificate by the system's authorities.")
@click.option(
    "--no-check", is_flag=True, help="Do not ask the cluster whether new credentials are right."
)
@output_format
@click.pass_obj
def modify(
    settings: Settings,
    /,
    backend: str,
    clustername: str | None,
    host: str | None,
    port: int | None,
    username: str | None,
    password: str | None,
    password_stdin: bool,
    password_file: str | None,
    certificate_file: str | None,
    fingerprint: str | None,
    scheme: str | None,
    no_pin: bool,
    no_check: bool,
    form: str,
    **plain: Any,
) -> None:
    """Change a cluster (by id or name); a running service notices at once."""
    secret = secret_input.get(
        "RAPI password",
        from_argv=password,
        from_stdin=password_stdin,
        from_file=password_file,
        prompt=False,
    )
    changes = {name: value for name, value in plain.items() if value is not None}
    given = {"name": clustername, "rapi_host": host, "rapi_port": port, "rapi_username": username,
             "rapi_scheme": scheme}  # fmt: skip
    changes |= {name: value for name, value in given.items() if value is not None}
    if no_pin and (certificate_file or fingerprint):
        raise click.UsageError("--no-pin contradicts a certificate.")
    if fingerprint and not certificate_file and (host is None or port is None):
        raise click.UsageError("--fingerprint needs --host and --port, to fetch the certificate.")
    pem = _certificate(certificate_file, fingerprint, host or "", port or 0)
    if pem is not None or no_pin:
        changes["certificate"] = pem
    if not changes and secret is None:
        raise click.UsageError("Nothing to change was given.")

    async def work(world: World) -> dict[str, Any]:
        row = await fleet(world).modify(backend, changes, password=secret, check=not no_check)
        return await _shown(world, row.id)

    tables.show(tables.record(settings.run(work), form))


@click.command("backend-remove")
@click.argument("backend", type=WORD)
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.pass_obj
def remove(settings: Settings, backend: str, force: bool) -> None:
    """Remove a cluster (by id or name) that has no servers; nothing is changed on it."""
    if not force:
        click.confirm(f"Remove backend {backend}?", abort=True, err=True)

    async def work(world: World) -> tuple[str, list[str]]:
        row, left = await fleet(world).remove(backend)
        return row.name, [world.names.network(number) for number in left]

    name, left = settings.run(work)
    click.echo(f"Backend {name} was removed.")
    if left:
        click.echo(f"The cluster itself keeps the networks {', '.join(left)}.", err=True)


@click.command("backend-update-status")
@click.argument("backend", type=WORD, required=False)
@output_format
@click.pass_obj
def update_status(settings: Settings, backend: str | None, form: str) -> None:
    """Ask every cluster that is not offline (or one) for what is free on it."""

    async def work(world: World) -> list[tuple[str, str]]:
        return await fleet(world).refresh(backend)

    outcomes = settings.run(work)
    found = [(name, "failed" if reason else "ok", reason) for name, reason in outcomes]
    tables.show(tables.table(("clustername", "result", "reason"), found, form))
    if any(reason for _, reason in outcomes):
        raise Failed("")


@click.command("project-backend-add")
@click.option("--project", required=True, type=WORD, help="Name or id.")
@click.option("--backend", required=True, type=WORD, help="Id or name.")
@click.pass_obj
def project_add(settings: Settings, project: str, backend: str) -> None:
    """Give a project a cluster; from then on it uses no others than those it was given."""

    async def work(world: World) -> None:
        await fleet(world).give(backend, await world.people.find_project(project))

    settings.run(work)
    click.echo(f"Project {project} uses backend {backend}.")


@click.command("project-backend-remove")
@click.option("--project", type=WORD, help="Name or id.")
@click.option("--backend", type=WORD, help="Id or name.")
@click.pass_obj
def project_remove(settings: Settings, project: str | None, backend: str | None) -> None:
    """Take a cluster from a project (or from all, or all from it)."""

    async def work(world: World) -> int:
        project_id = None if project is None else await world.people.find_project(project)
        return await fleet(world).take(backend, project_id)

    number = settings.run(work)
    if not number:
        raise BadRequest("There is no such mapping; see project-backend-list.")
    click.echo(f"{number} mapping{'s' * (number != 1)} removed.")


def add_to(group: click.Group) -> None:
    """Add the commands."""
    for command in (add, modify, remove, update_status, project_add, project_remove):
        group.add_command(command)
    list_command(group, "backend-list", CLUSTERS, "List the clusters; never their passwords.")
    list_command(
        group,
        "project-backend-list",
        CLUSTER_PROJECTS,
        "List which projects were given which clusters.",
    )


async def _shown(world: World, cluster_id: int) -> dict[str, Any]:
    found = await listings.one(world.database, CLUSTERS, cluster_id, CLUSTERS.pick(_SHOWN))
    return found or {}


def _certificate(path: str | None, fingerprint: str | None, host: str, port: int) -> str | None:
    """The PEM to pin, from a file or from the server itself."""
    if path is not None:
        try:
            with Path(path).open("rb") as file:
                pem = file.read(_MOST_PEM_BYTES).decode("ascii")
        except OSError as error:
            raise BadRequest(f"{path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise BadRequest(f"{path}: not a PEM certificate") from None
        if fingerprint is not None:
            _compare(pem, fingerprint, path)
        return pem
    if fingerprint is None:
        return None
    try:
        pem = ssl.get_server_certificate((host, port), timeout=_FETCH_SECONDS)
    except (OSError, ValueError) as error:
        raise BadRequest(f"The certificate of {host}:{port} cannot be fetched: {error}") from None
    _compare(pem, fingerprint, f"{host}:{port}")
    return pem


def _compare(pem: str, fingerprint: str, where: str) -> None:
    wanted = re.sub(r"[:\s]", "", fingerprint).lower()
    if re.fullmatch(r"[0-9a-f]{64}", wanted, re.ASCII) is None:
        raise click.UsageError("--fingerprint is a SHA-256: 64 hex digits, colons may be between.")
    try:
        shown = sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    except ValueError:
        raise BadRequest(f"{where}: not a PEM certificate") from None
    if not hmac.compare_digest(shown, wanted):
        raise BadRequest(f"The certificate of {where} has another fingerprint: {shown}")
