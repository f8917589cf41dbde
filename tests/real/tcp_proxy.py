"""A network that can be cut: forwards TCP on loopback, goes silent or refuses when told."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading


class TcpProxy:
    """Forwards from a port of its own to another one, in a thread.

    :ivar port: where it listens.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._silent = False
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._waker, self._wake = socket.socketpair()
        self._selector.register(self._waker, selectors.EVENT_READ)
        self._listener: socket.socket | None = None
        self.port = 0
        self._listen()
        self._over = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def silence(self) -> None:
        """Let nothing through any more, without closing anything: a cut cable."""
        with self._lock:
            self._silent = True

    def refuse(self) -> None:
        """Close every connection and take no new one: a stopped host."""
        with self._lock:
            for one in list(self._pairs):
                self._drop(one)
            if self._listener is not None:
                self._selector.unregister(self._listener)
                self._listener.close()
                self._listener = None

    def reset(self) -> None:
        """Close every connection; new ones are welcome."""
        with self._lock:
            for one in list(self._pairs):
                self._drop(one)

    def restore(self) -> None:
        """Undo :meth:`silence` and :meth:`refuse`."""
        with self._lock:
            self._silent = False
            if self._listener is None:
                self._listen()
        self._wake.send(b".")

    def close(self) -> None:
        """End it all."""
        self._over = True
        self._wake.send(b".")
        self._thread.join(5)
        self.refuse()
        self._selector.close()
        self._waker.close()
        self._wake.close()

    def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        self._selector.register(self._listener, selectors.EVENT_READ)

    def _run(self) -> None:
        while not self._over:
            for key, _ in self._selector.select(0.2):
                with self._lock, contextlib.suppress(OSError, KeyError):
                    self._serve(key.fileobj)
            if self._silent:
                # Whatever is readable stays so; no need to spin on it.
                threading.Event().wait(0.05)

    def _serve(self, ready: object) -> None:
        if ready is self._waker:
            self._waker.recv(64)
        elif ready is self._listener:
            assert self._listener is not None
            near, _ = self._listener.accept()
            try:
                far = socket.create_connection(("127.0.0.1", self._target), timeout=2)
            except OSError:
                near.close()
                return
            for one, other in ((near, far), (far, near)):
                self._pairs[one] = other
                self._selector.register(one, selectors.EVENT_READ)
        elif isinstance(ready, socket.socket) and ready in self._pairs and not self._silent:
            try:
                data = ready.recv(65536)
                if data:
                    self._pairs[ready].sendall(data)
            except OSError:
                data = b""
            if not data:
                self._drop(ready)

    def _drop(self, one: socket.socket) -> None:
        other = self._pairs.pop(one, None)
        for each in (one, other):
            if each is not None:
                self._pairs.pop(each, None)
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(each)
                each.close()
