"""The real clients in one process: each line of input is a call, each of output an answer.

Importing them takes longer than most commands, so one process makes all calls. What it changes of
them: they pause shorter while they wait for something, and every request they send is noted.
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import openstack
import openstack.resource
import requests
import stevedore
from openstackclient.shell import OpenStackShell
from osc_lib.clientmanager import ClientCache, ClientManager

#: Clients count their pauses; the later ones are longer so that none gives up too early.
PAUSE_SECONDS = 0.1
LATER_PAUSE_SECONDS = 1.0
SHORT_PAUSES = 15


class Pauses:
    """In the place of :func:`time.sleep`."""

    def __init__(self) -> None:
        self.count = 0
        self._sleep = time.sleep

    def __call__(self, seconds: float) -> None:
        """Sleep, but not as long as it was asked for."""
        self.count += 1
        most = PAUSE_SECONDS if self.count <= SHORT_PAUSES else LATER_PAUSE_SECONDS
        self._sleep(min(seconds, most))


class Terminal(io.StringIO):
    """In the place of standard input: a person who types nothing more.

    From anything else ``image create`` would read the data of the image.
    """

    def isatty(self) -> bool:
        """It is one."""
        return True


class Wire:
    """Notes the requests of every client: method, path with query, action, status.

    :ivar replies: each request's method, path with query, minor microversion, status and body.
    """

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, str, int]] = []
        self.replies: list[tuple[str, str, int, int, str]] = []
        self._send = requests.Session.send

    def watch(self) -> None:
        """Begin."""
        wire = self

        def send(session: requests.Session, request: Any, **options: Any) -> requests.Response:
            reply = wire._send(session, request, **options)
            url = urlsplit(request.url)
            path = f"{url.path}?{url.query}" if url.query else url.path
            action = wire.action(request) if url.path.endswith("/action") else ""
            wire.sent.append((request.method, path, action, reply.status_code))
            if not options.get("stream"):
                said = reply.headers.get("OpenStack-API-Version", "compute 2.1")
                minor = int(said.rpartition(".")[2])
                wire.replies.append((request.method, path, minor, reply.status_code, reply.text))
            return reply

        requests.Session.send = send  # type: ignore[method-assign]

    @staticmethod
    def action(request: Any) -> str:
        """The name of the action that a body asks for."""
        return next(iter(json.loads(request.body or "{}")), "")


class Connections:
    """The clients that are called as libraries, one of each for a cloud."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, ...], Any] = {}

    def get(self, kind: str, cloud: str, version: str) -> Any:
        """One of ``conn``, ``old`` (it asks Compute for addresses), ``nova`` and ``neutron``.

        :param version: the microversion that a program with novaclient asks for.
        """
        key = (kind, cloud, version)
        if key not in self._made:
            self._made[key] = getattr(self, f"_{kind}")(cloud, version)
        return self._made[key]

    def _conn(self, cloud: str, _version: str) -> Any:
        return openstack.connect(cloud=cloud)

    def _old(self, cloud: str, _version: str) -> Any:
        return openstack.connect(cloud=cloud, floating_ip_source="nova", secgroup_source="nova")

    def _nova(self, cloud: str, version: str) -> Any:
        from novaclient.client import Client

        return Client(version, session=self.get("conn", cloud, "").session, region_name="RegionOne")

    def _neutron(self, cloud: str, _version: str) -> Any:
        from neutronclient.v2_0.client import Client

        return Client(session=self.get("conn", cloud, "").session, region_name="RegionOne")


def plain(value: Any) -> Any:
    """A result as JSON has it."""
    if isinstance(value, openstack.resource.Resource):
        return plain(value.to_dict(computed=False))
    if isinstance(value, requests.Response):
        said = value.json() if value.content else None
        return {"status": value.status_code, "body": said}
    if hasattr(value, "to_dict"):
        return plain(value.to_dict())
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if isinstance(value, Iterable):
        return [plain(each) for each in value]
    return str(value)


def shell(cloud: str, words: list[str]) -> dict[str, Any]:
    """Run a command of ``openstack`` as a person types it."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status: Any = OpenStackShell().run([*(["--os-cloud", cloud] if cloud else []), *words])
        except SystemExit as leaving:
            status = leaving.code
    # A process of its own would begin anew, with nobody's connections and no logs.
    for kept in vars(ClientManager).values():
        if isinstance(kept, ClientCache):
            kept._handle = None
    for handler in list(logging.getLogger().handlers):
        logging.getLogger().removeHandler(handler)
    return {"status": status, "out": out.getvalue(), "err": err.getvalue()}


def call(connections: Connections, said: dict[str, Any]) -> dict[str, Any]:
    """Call a function of a library."""
    kind, *names = said["call"].split(".")
    target = connections.get(kind, said["cloud"], said["version"])
    try:
        for name in names:
            target = getattr(target, name)
        found = target(*said["args"], **said["named"])
        if isinstance(found, requests.Response) and found.status_code >= 400:
            return {"status": 1, "err": found.text}
        return {"status": 0, "value": plain(found)}
    except Exception as error:
        # Of whatever client it is: the test looks at it.
        return {"status": 1, "err": f"{type(error).__name__}: {error}"}


def serve(lines: Iterable[str], write: Callable[[str], Any]) -> None:
    """Answer one line after the other."""
    pauses, wire, connections = Pauses(), Wire(), Connections()
    time.sleep = pauses
    # Each command would look for all of them again.
    stevedore.ExtensionManager = cache(stevedore.ExtensionManager)
    wire.watch()
    for line in lines:
        said = json.loads(line)
        if not said:
            connections = Connections()
            write("{}\n")
            continue
        pauses.count = 0
        wire.sent, wire.replies = [], []
        if "environment" in said:
            os.environ.clear()
            os.environ.update(said["environment"])
            os.chdir(said["folder"])
        answer = shell(said["cloud"], said["words"]) if "words" in said else call(connections, said)
        write(json.dumps({**answer, "requests": wire.sent, "replies": wire.replies}) + "\n")


if __name__ == "__main__":
    # Whatever a library prints must not get between the answers, and it may read no call.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    calls = os.fdopen(os.dup(sys.stdin.fileno()))
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), sys.stdin.fileno())
    sys.stdin = Terminal()
    serve(calls, answers.write)
