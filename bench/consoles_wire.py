"""Viewers of consoles as blocking sockets: in clear, over TLS, and as browsers speak."""

from __future__ import annotations

import base64
import functools
import os
import socket
import ssl

from cyclades_tx.console.passwords import response

WAIT_SECONDS = 120.0
_GREETING = b"RFB 003.008\n"
#: VeNCrypt, and its type for a password inside of TLS.
_VENCRYPT, _X509_VNC = 19, 261


def connect(port: int) -> socket.socket:
    """Connect to the loopback."""
    wire = socket.create_connection(("127.0.0.1", port), WAIT_SECONDS)
    wire.settimeout(WAIT_SECONDS)
    return wire


def straight(port: int, tls: bool = False) -> socket.socket:
    """Be let in by a screen that wants no password, through whatever is between."""
    wire = encrypted(connect(port)) if tls else connect(port)
    read(wire, 12)
    wire.sendall(_GREETING)
    read(wire, read(wire, 1)[0])
    wire.sendall(b"\1")
    read(wire, 4)
    return wire


def viewer(port: int, password: str, tls: bool = False) -> socket.socket:
    """Be let in at the port for viewers."""
    wire = connect(port)
    read(wire, 12)
    wire.sendall(_GREETING)
    offers = read(wire, read(wire, 1)[0])
    if tls:
        assert offers[0] == _VENCRYPT
        wire.sendall(bytes([_VENCRYPT]))
        read(wire, 2)
        wire.sendall(b"\0\2")
        read(wire, 1 + 1 + 4)
        wire.sendall(_X509_VNC.to_bytes(4, "big"))
        read(wire, 1)
        wire = encrypted(wire)
    else:
        wire.sendall(b"\2")
    wire.sendall(response(password, read(wire, 16)))
    assert read(wire, 4) == bytes(4)
    return wire


def browser(port: int, path: str, ticket: str) -> socket.socket:
    """Be let in over WebSocket; the next byte that is sent in a frame goes to the screen."""
    wire = upgraded(port, path)
    wire.sendall(frame(ticket.encode(), text=True))
    _read_frame(wire)
    _read_frame(wire)
    wire.sendall(frame(_GREETING + b"\1"))
    assert _read_frame(wire) == b"\1\1" + bytes(4)
    return wire


def upgraded(port: int, path: str) -> socket.socket:
    """A WebSocket that has said nothing yet."""
    wire = connect(port)
    key = base64.b64encode(os.urandom(16)).decode()
    wire.sendall(
        (
            f"GET {path} HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ).encode()
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += read(wire, 1)
    assert b" 101 " in answer, answer
    return wire


def greet(wire: socket.socket) -> None:
    """Be a screen that lets everybody in."""
    wire.settimeout(WAIT_SECONDS)
    wire.sendall(_GREETING)
    read(wire, 12)
    wire.sendall(b"\1\1")
    read(wire, 1)
    wire.sendall(bytes(4))


def frame(data: bytes, text: bool = False) -> bytes:
    """A message of up to 125 bytes with a mask that changes nothing (RFC 6455, section 5.3)."""
    assert len(data) < 126
    return bytes([0x81 if text else 0x82, 0x80 | len(data)]) + bytes(4) + data


def read(wire: socket.socket, count: int) -> bytes:
    """So many bytes.

    :raise AssertionError: when they do not come any more.
    """
    data = b""
    while len(data) < count:
        piece = wire.recv(count - len(data))
        assert piece, f"closed after {data!r}"
        data += piece
    return data


def encrypted(wire: socket.socket) -> socket.socket:
    """Speak TLS from now on, with whomever."""
    return _context().wrap_socket(wire)


def _read_frame(wire: socket.socket) -> bytes:
    return read(wire, read(wire, 2)[1])


@functools.cache
def _context() -> ssl.SSLContext:
    """For whom no certificate needs to be good; made once, since that takes long."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
