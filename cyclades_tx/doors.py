"""The doors of the service: what answers over HTTP, and how VNC viewers are let in.

Each service of the API is mounted here with the flows that it needs, according to the roles of
the process.
"""

from __future__ import annotations

import re
from pathlib import Path

import orjson
from OpenSSL import crypto
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    PrivateCertificate,
    TLSVersion,
)

from cyclades_tx.api import console as console_page
from cyclades_tx.api import operator, vmapi
from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.call import Service as Dialect
from cyclades_tx.api.compute import app as compute
from cyclades_tx.api.compute import consoles as compute_consoles
from cyclades_tx.api.compute import interfaces, proxies
from cyclades_tx.api.errors import nova_fault
from cyclades_tx.api.frame import Frame
from cyclades_tx.api.identity import app as identity
from cyclades_tx.api.identity.address import ClientAddress
from cyclades_tx.api.image import app as image
from cyclades_tx.api.image.data import Data as ImageBytes
from cyclades_tx.api.network import app as network
from cyclades_tx.api.network.floating_ips import FloatingIpWriter
from cyclades_tx.api.network.networks import NetworkWriter
from cyclades_tx.api.network.ports import PortWriter
from cyclades_tx.api.network.routers import RouterWriter
from cyclades_tx.api.network.security_groups import GroupWriter, RuleWriter
from cyclades_tx.api.network.subnet_pools import SubnetPoolWriter
from cyclades_tx.api.network.subnets import SubnetWriter
from cyclades_tx.api.network.writing import IWriter
from cyclades_tx.api.replays import Replays
from cyclades_tx.api.volume import app as volume
from cyclades_tx.config import Config
from cyclades_tx.console.sessions import Consoles
from cyclades_tx.console.websocket import ConsoleSocket
from cyclades_tx.errors import ConfigError
from cyclades_tx.identity.catalog import ALL_SERVICES, Catalog
from cyclades_tx.sections import ConsoleSection
from cyclades_tx.world import World

_CERTIFICATES = re.compile(b"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def api(world: World, roles: tuple[str, ...], consoles: Consoles | None = None) -> Frame:
    """The services that users speak to.

    :param consoles: the sessions of this process; None: it relays none.
    """
    config = world.config
    frame = Frame(
        world.reactor,
        world.identity,
        config.public_url,
        world.metrics.request,
        Replays(world.database, world.keyring),
    )
    _mount_health(frame)
    if consoles is not None:
        address = ClientAddress(config.server.trusted_proxies)
        socket = ConsoleSocket(consoles, [config.public_url], address.of)
        console_page.mount(frame, socket)
    image_bytes = ImageBytes(world.reactor, world.image_data, *config.image.pace)
    if "vmapi" in roles:
        vmapi.mount(frame, world.vault, image_bytes.fetch)
    if "api" in roles:
        identity.mount(
            frame,
            world.database,
            world.identity,
            world.people,
            world.credentials,
            Catalog(config.public_url, config.identity.region, ALL_SERVICES),
            trusted_proxies=config.server.trusted_proxies,
        )
        operator.mount(frame, world.servers)
        compute.mount(
            frame,
            world.database,
            world.servers,
            world.keypairs,
            instance_prefix=config.ganeti.instance_prefix,
            limits=config.quota.limits(),
            interfaces_flow=world.interfaces,
            volumes_flow=world.volume_attachments,
            more_actions={
                **interfaces.actions(world.interfaces, world.floating_ips, world.security_groups),
                **compute_consoles.actions(world.consoles, _viewers(config)),
            },
            consoles_flow=world.consoles,
            old_flows=proxies.Flows(world.floating_ips, world.security_groups, world.images),
        )
        network.mount(
            frame,
            world.database,
            config.quota.limits(),
            network_writers(world),
            world.network_tags,
        )
        image.mount(frame, world.database, image_bytes)
        volume.mount(frame, world.database, world.volumes, limits=config.quota.limits())
    return frame


def _viewers(config: Config) -> tuple[str, int] | None:
    """Where VNC viewers connect to, as users are told."""
    port = config.console.viewer_port
    return (config.viewer_host, port) if port else None


def viewer_tls(section: ConsoleSection) -> CertificateOptions | None:
    """What makes TLS connections with VNC viewers.

    :raise ConfigError: when certificate or key are no PEM.
    """
    if not section.viewer_tls_key_file:
        return None
    try:
        certificate = Path(section.viewer_tls_certificate_file).read_bytes()
        key = Path(section.viewer_tls_key_file).read_bytes()
        ours = PrivateCertificate.loadPEM(certificate + b"\n" + key)
        chain = _CERTIFICATES.findall(
            Path(section.viewer_tls_chain_file).read_bytes()
            if section.viewer_tls_chain_file
            else b""
        )
        return CertificateOptions(
            privateKey=ours.privateKey.original,
            certificate=ours.original,
            extraCertChain=[Certificate.loadPEM(each).original for each in chain],
            # In 1.3 the challenge follows tickets for later sessions, which nobody can turn off
            # here; TigerVNC's viewer (1.12) then waits forever for what it has read already.
            lowerMaximumSecurityTo=TLSVersion.TLSv1_2,
        )
    except (OSError, ValueError, crypto.Error) as error:
        raise ConfigError(f"console.viewer_tls_certificate_file: {error}") from None


def network_writers(world: World) -> dict[str, IWriter]:
    """What makes, changes and deletes the things of Network, by the path of its collection."""
    database = world.database
    return {
        "networks": NetworkWriter(database, world.networks),
        "subnets": SubnetWriter(database, world.subnets),
        "ports": PortWriter(database, world.ports),
        "floatingips": FloatingIpWriter(database, world.floating_ips),
        "routers": RouterWriter(database, world.routers),
        "subnetpools": SubnetPoolWriter(database, world.subnet_pools),
        "security-groups": GroupWriter(database, world.security_groups),
        "security-group-rules": RuleWriter(database, world.security_groups),
    }


def _mount_health(frame: Frame) -> None:
    dialect = Dialect("health", nova_fault)

    async def healthz(call: Call) -> Reply:
        """The process listens only when it is ready, so an answer is a yes."""
        return Reply(200, orjson.dumps({"status": "ok"}))

    frame.endpoint(dialect, "GET", "/healthz", healthz, token=False)
