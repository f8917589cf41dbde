"""A private RabbitMQ node for the tests: started when first asked for, always removed.

It runs without systemd, as whoever runs the tests, on ports of its own on the loopback, with a
generated password and a virtual host of its own; its data survive :meth:`RabbitNode.kill`.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.real.packages import need
from tests.real.ports import free_port

START_TIMEOUT_SECONDS = 90
STOP_TIMEOUT_SECONDS = 30
ANSWER_TIMEOUT_SECONDS = 15
ROOM_BYTES = 500_000_000
PREFIX = "cyclades-tx-rabbitmq-"
VHOST = "cloud/test"
_ROOT = Path("/usr/lib/rabbitmq/lib")


class NoRabbit(Exception):
    """The node could not be started; the message says why."""


@dataclass(frozen=True)
class _Ports:
    amqp: int
    amqps: int
    distribution: int
    epmd: int


class RabbitNode:
    """One node.

    :ivar port: AMQP in clear; ``tls_port``: in TLS.
    :ivar ca_file: PEM of the authority that has signed the node's certificate.
    :ivar certificate_file: PEM of the certificate itself.
    """

    def __init__(self) -> None:
        need("rabbitmqctl", "rabbitmq-server")
        self._sbin = next(_ROOT.glob("rabbitmq_server-*/sbin"))
        memory = Path("/dev/shm")
        roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free >= ROOM_BYTES
        parent = memory if roomy else Path(tempfile.gettempdir())
        _remove_orphans(parent)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent))
        self._ports = _Ports(*(free_port() for _ in range(4)))
        self.port, self.tls_port = self._ports.amqp, self._ports.amqps
        self.username = "cloud"
        self.password = secrets.token_urlsafe(18) + "/:@%é"
        self.vhost = VHOST
        self.ca_file = self.folder / "ca.pem"
        self.certificate_file = self.folder / "server.pem"
        _make_certificates(self.folder)
        self._write_configuration()
        self._epmd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<RabbitNode at {self.port}>"

    def url(
        self, port: int | None = None, *, tls: bool = False, password: str | None = None
    ) -> str:
        """Its URL, with the password in it.

        :param port: of a proxy before it.
        """
        scheme = "amqps" if tls else "amqp"
        secret = quote(self.password if password is None else password, safe="")
        at = port or (self.tls_port if tls else self.port)
        return f"{scheme}://{self.username}:{secret}@127.0.0.1:{at}/{quote(self.vhost, safe='')}"

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._server is not None and self._server.poll() is None

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        if self.running:
            return
        if self._epmd is None or self._epmd.poll() is not None:
            self._epmd = subprocess.Popen(
                [need("epmd", "rabbitmq-server"), "-port", str(self._ports.epmd),
                 "-address", "127.0.0.1"],
                env=self._environment(), stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            (self.folder / "epmd.pid").write_text(str(self._epmd.pid))
        with (self.folder / "console.log").open("ab") as console:
            self._server = subprocess.Popen(
                [self._sbin / "rabbitmq-server"],
                env=self._environment(), stdin=subprocess.DEVNULL,
                stdout=console, stderr=console, start_new_session=True,
            )  # fmt: skip
        (self.folder / "server.pid").write_text(str(self._server.pid))
        end = time.monotonic() + START_TIMEOUT_SECONDS
        while not (_listens(self.port) and _listens(self.tls_port)):
            if not self.running or time.monotonic() > end:
                said = (self.folder / "console.log").read_text(errors="replace")[-1500:]
                raise NoRabbit(f"rabbitmq-server does not start: {said}")
            time.sleep(0.05)

    def begin_stop(self) -> None:
        """Ask it to end in good order, and return at once."""
        if self.running:
            assert self._server is not None
            self._signal(signal.SIGTERM)

    def stop(self) -> None:
        """End it in good order."""
        self.begin_stop()
        if self._server is not None:
            try:
                self._server.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End it at once, as a power cut does."""
        if self._server is not None:
            self._signal(signal.SIGKILL)
            self._server.wait(STOP_TIMEOUT_SECONDS)

    def restart(self) -> None:
        """Stop and start it."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop it in its tracks: its sockets stay open and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Undo :meth:`freeze`."""
        self._signal(signal.SIGCONT)

    def control(self, *words: str) -> str:
        """Run ``rabbitmqctl`` on it; takes a second or two."""
        return subprocess.run(
            [self._sbin / "rabbitmqctl", "-q", *words],
            env=self._environment(), check=True, capture_output=True, text=True, timeout=60,
        ).stdout  # fmt: skip

    def raise_alarm(self) -> None:
        """Let it be out of memory: it takes no messages until :meth:`clear_alarm`."""
        self.control("set_vm_memory_high_watermark", "absolute", "1MB")

    def clear_alarm(self) -> None:
        """Give the memory back."""
        self.control("set_vm_memory_high_watermark", "0.6")

    def connect(self) -> Any:
        """A connection of pika's, an independent client."""
        import pika

        return pika.BlockingConnection(
            pika.ConnectionParameters(
                "127.0.0.1",
                self.port,
                self.vhost,
                pika.PlainCredentials(self.username, self.password),
                socket_timeout=ANSWER_TIMEOUT_SECONDS,
                stack_timeout=ANSWER_TIMEOUT_SECONDS,
            )
        )

    def answers(self) -> bool:
        """Whether it lets somebody log in."""
        from pika.exceptions import AMQPError

        try:
            self.connect().close()
        except (AMQPError, OSError):
            return False
        return True

    def purge(self) -> None:
        """Remove everything of it."""
        with contextlib.suppress(ProcessLookupError):
            self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait(STOP_TIMEOUT_SECONDS)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        assert self._server is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._server.pid, number)

    def _write_configuration(self) -> None:
        file = self.folder / "rabbitmq.conf"
        file.touch(mode=0o600)
        file.write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}\n"
            f"ssl_options.cacertfile = {self.folder}/ca.pem\n"
            f"ssl_options.certfile = {self.folder}/server.pem\n"
            f"ssl_options.keyfile = {self.folder}/server.key\n"
            "ssl_options.verify = verify_none\n"
            f"default_user = {self.username}\n"
            f"default_vhost = {self.vhost}\n"
            "loopback_users = none\n"
            "vm_memory_high_watermark.relative = 0.6\n"
            "disk_free_limit.absolute = 1MB\n"
            "log.console = false\n"
        )
        # The password in a file of the older form, which takes any character.
        advanced = self.folder / "advanced.config"
        advanced.touch(mode=0o600)
        codes = ",".join(str(byte) for byte in self.password.encode())
        advanced.write_text(f"[{{rabbit, [{{default_pass, <<{codes}>>}}]}}].\n")
        (self.folder / "enabled_plugins").write_text("[].\n")

    def _environment(self) -> dict[str, str]:
        folder = self.folder
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._ports.epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"cytx{self.port}@localhost",
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(folder / "rabbit.pid"),
            "RABBITMQ_DIST_PORT": str(self._ports.distribution),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}"
            " +S 2:2 +sbwt none",
        }


class RabbitNodes:
    """The node of one test run."""

    def __init__(self) -> None:
        self._node: RabbitNode | None = None

    def get(self) -> RabbitNode:
        """The node, running."""
        if self._node is None:
            node = RabbitNode()
            try:
                node.start()
            except BaseException:
                node.purge()
                raise
            self._node = node
        self._node.start()
        if not self._node.answers():
            # A failed test has left it frozen or broken: the next ones shall not fail too.
            self._node.kill()
            self._node.start()
        return self._node

    def purge(self) -> None:
        """Remove it."""
        if self._node is not None:
            self._node.purge()
            self._node = None


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _make_certificates(folder: Path) -> None:
    """An authority, and a certificate for the loopback signed by it."""
    from datetime import UTC, datetime, timedelta
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.now(UTC)

    def certificate(name: str, key: Any, issuer: str, signer: Any, *extensions: Any) -> Any:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=2))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(signer, hashes.SHA256())

    authority_key = ec.generate_private_key(ec.SECP256R1())
    key = ec.generate_private_key(ec.SECP256R1())
    authority = certificate(
        "test authority", authority_key, "test authority", authority_key,
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), False),
    )  # fmt: skip
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    own = certificate(
        "localhost", key, "test authority", authority_key,
        (x509.SubjectAlternativeName(names), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), False),
    )  # fmt: skip
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(authority.public_bytes(pem))
    (folder / "server.pem").write_bytes(own.public_bytes(pem))
    file = folder / "server.key"
    file.touch(mode=0o600)
    file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _remove_orphans(parent: Path) -> None:
    """End and remove what a run that was killed has left."""
    for folder in parent.glob(f"{PREFIX}*-*"):
        owner = re.match(rf"{PREFIX}(\d+)-", folder.name)
        if owner is None or Path("/proc", owner[1]).exists():
            continue
        for name in ("server.pid", "epmd.pid"):
            with contextlib.suppress(OSError, ValueError):
                pid = int((folder / name).read_text())
                # Only if it is still that process.
                if str(folder).encode() in Path(f"/proc/{pid}/environ").read_bytes():
                    os.killpg(pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


#: One node for the whole run, whichever test module asks.
RABBIT = RabbitNodes()
atexit.register(RABBIT.purge)
