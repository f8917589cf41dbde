"""The commands as one program."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from cyclades_tx import __version__
from cyclades_tx.manage import (
    addresses,
    backends,
    consoles,
    database,
    enforce_resources,
    flavors,
    floating_ips,
    images,
    keyring,
    networks,
    operations,
    people,
    pools,
    ports,
    queues,
    quotas,
    reconcile_networks,
    reconcile_pools,
    reconcile_quotas,
    reconcile_servers,
    server_creation,
    server_import,
    servers,
    statistics,
    subnets,
    volume_types,
    volumes,
)
from cyclades_tx.manage.runner import Settings, explain

DEFAULT_CONFIG = "/etc/cyclades_tx/cyclades_tx.toml"


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted.",
)
@click.version_option(
    __version__, "--version", prog_name="snf-manage", message="%(prog)s %(version)s"
)
@click.option(
    "--config",
    "config_path",
    default=DEFAULT_CONFIG,
    envvar="CYCLADES_TX_CONFIG",
    show_default=True,
    show_envvar=True,
    metavar="FILE",
    help="The service's configuration file.",
)
@click.option("-v", "--verbose", is_flag=True, help="Write the log, and where an error came from.")
@click.pass_context
def commands(ctx: click.Context, config_path: str, verbose: bool) -> None:
    """Manage a cyclades_tx cloud: clusters, flavors, images, networks, people and servers.

    Each command works on the database of the service that the configuration file describes;
    a running service notices at once.
    """
    ctx.obj = (ctx.obj or Settings)(config_path, verbose)


for _room in (
    addresses,
    floating_ips,
    ports,
    backends,
    volume_types,
    volumes,
    flavors,
    images,
    networks,
    subnets,
    pools,
    people,
    quotas,
    servers,
    server_creation,
    server_import,
    consoles,
    reconcile_servers,
    reconcile_networks,
    reconcile_pools,
    reconcile_quotas,
    enforce_resources,
    queues,
    keyring,
    operations,
    statistics,
    database,
):
    _room.add_to(commands)


def run(arguments: list[str] | None = None, settings: type[Settings] = Settings) -> Any:
    """Run the command of the process's arguments, and end the process with its exit code.

    :param settings: where commands work; another than the usual one for a reactor that runs.
    """
    verbose = False
    try:
        with commands.make_context(
            "snf-manage", list(sys.argv[1:] if arguments is None else arguments), obj=settings
        ) as ctx:
            verbose = bool(ctx.params.get("verbose"))
            commands.invoke(ctx)
            # Now, so that a reader who went away is noticed where it can be handled.
            sys.stdout.flush()
    except click.exceptions.Exit as ended:
        sys.exit(ended.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError as error:
        # Whatever is still in the buffer must not be written at the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        explain(error, verbose=verbose)
    except Exception as error:
        explain(error, verbose=verbose)
    except KeyboardInterrupt as error:
        explain(error, verbose=verbose)
