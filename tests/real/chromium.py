"""A real browser without a window: Debian's Chromium, spoken to over two pipes."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.real.packages import need
from tests.real.pictures import Picture, read_png

PATIENCE_SECONDS = 90.0


class Browser:
    """One browser with one page (Chrome DevTools protocol).

    :param folder: its profile; nothing of it is kept elsewhere.
    """

    def __init__(self, folder: Path, width: int = 1100, height: int = 720) -> None:
        program = need("chromium", "chromium")
        read_commands, self._commands = os.pipe()
        self._answers, write_answers = os.pipe()
        options = (
            *("--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu"),
            *("--disable-dev-shm-usage", "--no-first-run", "--disable-extensions"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--hide-scrollbars", "--mute-audio", "--force-device-scale-factor=1"),
            *(f"--user-data-dir={folder}", f"--window-size={width},{height}", "about:blank"),
        )
        # It wants the pipes as descriptors 3 and 4.
        words = f'exec "$@" 3<&{read_commands} 4>&{write_answers}'
        with (folder.parent / "chromium.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["bash", "-c", words, "bash", program, *options],
                pass_fds=(read_commands, write_answers),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8"},
            )
        os.close(read_commands)
        os.close(write_answers)
        self._numbers = itertools.count(1)
        self._waiting = b""
        self._page = ""
        #: What the page's console and the browser complained of.
        self.complaints: list[str] = []
        #: Every URL that was asked for.
        self.asked: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._page = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def call(self, method: str, **parameters: Any) -> Any:
        """Ask the browser for something; return its answer."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._page:
            message["sessionId"] = self._page
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, url: str) -> None:
        """Go to a page."""
        self.call("Page.navigate", url=url)

    def run(self, expression: str) -> Any:
        """What a piece of JavaScript gives in the page."""
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, expression: str, what: str) -> Any:
        """Wait until a piece of JavaScript gives something true."""
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            # Between two pages there is nothing to ask.
            with suppress(AssertionError):
                found = self.run(expression)
                if found:
                    return found
            time.sleep(0.1)
        body = self.run("document.body ? document.body.innerText : ''")
        raise AssertionError(f"not so: {what}; the page says {body!r}; {self.complaints}")

    def screenshot(self, path: Path | None = None) -> Picture:
        """What is to be seen now."""
        taken = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        if path is not None:
            path.write_bytes(taken)
        return read_png(taken)

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._commands)
        os.close(self._answers)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._waiting:
            ready, _, _ = select.select([self._answers], [], [], PATIENCE_SECONDS)
            assert ready, "the browser does not answer"
            data = os.read(self._answers, 1 << 20)
            assert data, "the browser has ended"
            self._waiting += data
        text, _, self._waiting = self._waiting.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        self._note(message)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        method, parameters = message.get("method"), message.get("params", {})
        if method == "Log.entryAdded":
            self.complaints.append(str(parameters["entry"]["text"]))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(parameters["exceptionDetails"])[:500])
        elif method in ("Network.requestWillBeSent", "Network.webSocketCreated"):
            self.asked.append(str(parameters.get("url") or parameters["request"]["url"]))
