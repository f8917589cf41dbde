"""A real Swift on loopback, with one replica: its four servers and a memcached.

Its programs come with the Python package ``swift``, which gets an environment of its own: it
brings an event loop that our tests must not have.
"""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from tests.real.packages import need
from tests.real.ports import free_port

PACKAGE = "swift == 2.38.*"
START_SECONDS = 60.0
INSTALL_SECONDS = 300.0
USER, KEY = "test:tester", "testing"
_FILTERS = (
    "catch_errors", "gatekeeper", "healthcheck", "cache", "listing_formats", "tempauth", "copy",
    "container_quotas", "account_quotas", "slo", "dlo",
)  # fmt: skip


class RealSwift:
    """The servers, from start to stop.

    :param folder: for what they keep, and for the programs.
    :ivar account_url: of the one account.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs = folder / "programs" / "bin"
        self._running: list[subprocess.Popen[bytes]] = []
        self._port, self._cache_port = free_port(), free_port()
        self.account_url = f"http://127.0.0.1:{self._port}/v1/AUTH_test"

    def start(self) -> None:
        """Install and start them, and wait until they answer."""
        self._install()
        (self._folder / "devices" / "d1").mkdir(parents=True)
        (self._folder / "swift.conf").write_text(
            "[swift-hash]\nswift_hash_path_suffix = s\nswift_hash_path_prefix = p\n"
            "[storage-policy:0]\nname = one\ndefault = yes\n"
        )
        memcached = need("memcached", "memcached")
        self._run(memcached, "-u", "nobody", "-l", "127.0.0.1", "-p", f"{self._cache_port}")
        for kind in ("account", "container", "object"):
            self._ring(kind, port := free_port())
            self._server(
                kind, port, f"{kind}-server", f"[app:{kind}-server]\nuse = egg:swift#{kind}\n"
            )
        filters = "".join(f"[filter:{name}]\nuse = egg:swift#{name}\n" for name in _FILTERS)
        filters = filters.replace(
            "#cache\n", f"#memcache\nmemcache_servers = 127.0.0.1:{self._cache_port}\n"
        )
        filters = filters.replace("#tempauth\n", "#tempauth\nuser_test_tester = testing .admin\n")
        app = "[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\n"
        self._server("proxy", self._port, " ".join((*_FILTERS, "proxy-server")), app + filters)
        end = time.monotonic() + START_SECONDS
        while not self._token():
            assert time.monotonic() < end, "Swift does not start"
            time.sleep(0.1)

    def token(self) -> str:
        """A token for the account."""
        found = self._token()
        assert found
        return found

    def stop(self) -> None:
        """End them."""
        for process in self._running:
            process.kill()
            process.wait(30)

    def _install(self) -> None:
        python = str(self._programs / "python")
        for words in (
            (sys.executable, "-m", "venv", str(self._programs.parent)),
            (python, "-m", "pip", "install", "--disable-pip-version-check", "-q", PACKAGE),
        ):
            done = subprocess.run(
                words,
                check=False,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=INSTALL_SECONDS,
            )
            assert done.returncode == 0, f"{' '.join(words)}: {done.stderr[-400:]}"

    def _token(self) -> str:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/auth/v1.0",
            headers={"X-Auth-User": USER, "X-Auth-Key": KEY},
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as reply:
                found: str = reply.headers["X-Auth-Token"]
                return found
        except OSError:
            return ""

    def _ring(self, kind: str, port: int) -> None:
        builder = [self._programs / "swift-ring-builder", self._folder / f"{kind}.builder"]
        for words in (("create", "4", "1", "1"), ("add", f"r1z1-127.0.0.1:{port}/d1", "1"),
                      ("rebalance",)):  # fmt: skip
            # A ring of one device is worth a warning, which is a status.
            subprocess.run([*builder, *words], check=False, capture_output=True, timeout=60)

    def _server(self, kind: str, port: int, pipeline: str, rest: str) -> None:
        file = self._folder / f"{kind}-server.conf"
        file.write_text(
            f"[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = {port}\nworkers = 0\nuser = root\n"
            f"swift_dir = {self._folder}\ndevices = {self._folder}/devices\nmount_check = false\n"
            f"recon_cache_path = {self._folder}\nlog_address = /nonexistent\n"
            f"[pipeline:main]\npipeline = {pipeline}\n{rest}"
        )
        python = str(self._programs / "python")
        self._run(python, str(self._programs / f"swift-{kind}-server"), str(file))

    def _run(self, *words: str) -> None:
        with (self._folder / "servers.log").open("ab") as log:
            self._running.append(
                subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            )
