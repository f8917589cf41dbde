"""Clients that create servers, in a process of their own; the order comes on standard input.

Each client keeps one connection and asks for the next server as soon as the last one was
answered. One line of JSON on standard output tells the ids and the time of each answer.
"""

from __future__ import annotations

import http.client
import itertools
import json
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Submitted:
    """What came of it."""

    ids: list[str] = field(default_factory=list)
    reply_seconds: list[float] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    seconds: float = 0.0


def run(
    url: str, headers: dict[str, str], server: dict[str, Any], count: int, clients: int
) -> Submitted:
    """Create ``count`` servers.

    :param server: what each is to be; a name is added.
    """
    outcome = Submitted()
    # ``next`` on a count is one step of the interpreter: no client gets another's number.
    numbers = itertools.count(1)

    def work() -> None:
        place = urlsplit(url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)
        while (number := next(numbers)) <= count:
            body = json.dumps({"server": {"name": f"bench-{number}", **server}})
            begun = time.perf_counter()
            try:
                connection.request("POST", place.path, body, headers)
                reply = connection.getresponse()
                text = reply.read()
            except OSError as error:
                outcome.refusals.append(str(error))
                connection.close()
                continue
            outcome.reply_seconds.append(time.perf_counter() - begun)
            if reply.status == 202:
                outcome.ids.append(json.loads(text)["server"]["id"])
            else:
                outcome.refusals.append(f"{reply.status}: {text[:300].decode(errors='replace')}")
        connection.close()

    begun = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcome.seconds = time.perf_counter() - begun
    return outcome


if __name__ == "__main__":
    order = json.load(sys.stdin)
    print(json.dumps(vars(run(**order))))
