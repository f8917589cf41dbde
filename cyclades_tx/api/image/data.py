"""The data of images: streamed in and out, never as a whole in memory."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.errors import HttpError
from cyclades_tx.api.incoming import Incoming
from cyclades_tx.api.sending import PIECE_BYTES, Sending
from cyclades_tx.errors import BadRequest
from cyclades_tx.flows.image_data import STAGED, Expected, ImageData, Opened
from cyclades_tx.image_store.pace import LEAST_BYTES_PER_SECOND, WINDOW_SECONDS, Pace

OCTETS = "application/octet-stream"

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_HEX = re.compile(r"[0-9a-fA-F]{32}")


class Method(Struct, forbid_unknown_fields=True):
    """How an image is imported."""

    name: str
    uri: str = ""


class Import(Struct, forbid_unknown_fields=True):
    """The body of an import; there is one store, so where it goes is no question."""

    method: Method
    stores: list[str] | None = None
    all_stores: bool | None = None
    all_stores_must_succeed: bool | None = None


_IMPORT = msgspec.json.Decoder(Import)


class Data:
    """The endpoints of images' data.

    :param least_bytes_per_second: how fast a client must send and take, on average over a window.
    """

    def __init__(
        self,
        clock: Any,
        data: ImageData,
        least_bytes_per_second: float = LEAST_BYTES_PER_SECOND,
        window_seconds: float = WINDOW_SECONDS,
    ) -> None:
        self._clock = clock
        self._data = data
        self._least = (least_bytes_per_second, window_seconds)
        # The connection takes a whole piece before it asks for more.
        self._stall_seconds = max(window_seconds, PIECE_BYTES / least_bytes_per_second)

    @property
    def import_methods(self) -> tuple[str, ...]:
        """The ways to import an image, in Glance's words."""
        return self._data.import_methods

    @property
    def check_location(self) -> Callable[[str], object] | None:
        """Raises for a URL at which users may not say that an image lies; None: at none."""
        return self._data.check_location

    async def upload(self, call: Call, ref: str) -> Reply:
        """Take the data of a queued image; 204."""
        return await self._take(call, ref, "saving")

    async def stage(self, call: Call, ref: str) -> Reply:
        """Take the data of a queued image, which then waits for an import; 204."""
        return await self._take(call, ref, "uploading")

    async def _take(self, call: Call, ref: str, status: str) -> Reply:
        """Take the data of an image.

        What can be refused is refused before the body is read.

        :raise HttpError: 415 when it is not said to be a stream of octets.
        :raise BadRequest: when its length or checksum is not the one that was sent with it.
        :raise TooSlow: when it comes too slowly.
        """
        content_type = (call.header("content-type") or "").split(";")[0].strip().lower()
        if content_type != OCTETS:
            raise HttpError(415, f"The data of an image is sent as {OCTETS}.")
        incoming: Incoming | None = getattr(call.request, "incoming", None)
        if incoming is None:
            # A path that only means the same when it is decoded.
            raise BadRequest("The URL is not written as this service writes it.")
        expected = _expected(call, incoming.length)
        upload = await self._data.begin(call.who, ref, expected.size_bytes, status)
        try:
            pace = Pace(self._clock, *self._least)
            while data := await pace.read(incoming):
                await upload.write(data)
            await upload.finish(expected)
        except Exception as error:
            await upload.fail(error)
            raise
        return Reply(204)

    async def download(self, call: Call, ref: str) -> Reply:
        """Give out the data of an image, or a part of it; 204 when there is none here."""
        opened = await self._data.open(call.who, ref)
        return Reply(204) if opened is None else await self.reply(call, opened)

    async def fetch(self, call: Call, uuid: str, expires: str, signature: str) -> Reply:
        """Give out the data of an image to a cluster, which shows a signed URL."""
        return await self.reply(call, await self._data.open_signed(uuid, expires, signature))

    async def begin_import(self, call: Call, ref: str) -> Reply:
        """Use what was staged, or fetch the data from elsewhere, in the background; 202."""
        wanted = call.json(_IMPORT)
        if wanted.method.name not in self.import_methods:
            known = ", ".join(self.import_methods) or "none"
            raise BadRequest(
                f"{wanted.method.name[:80]!r} is no import method here; there are: {known}."
            )
        if wanted.method.name == STAGED:
            await self._data.import_staged(call.who, ref)
        else:
            await self._data.import_from(call.who, ref, wanted.method.uri)
        return Reply(202)

    async def reply(self, call: Call, opened: Opened) -> Reply:
        """The answer to a GET or HEAD, with the range that was asked for.

        :raise HttpError: 416 when the range is outside (RFC 9110, 14.2).
        """
        size = opened.reader.size_bytes
        etag = f'"{opened.md5}"'
        headers = {"accept-ranges": "bytes", "etag": etag}
        first, last, status = 0, size - 1, 200
        condition = call.header("if-range")
        asked = _RANGE.fullmatch(call.header("range") or "")
        if asked is not None and (condition is None or condition == etag):
            found = _range(asked[1], asked[2], size)
            if found is None:
                await opened.reader.close()
                raise HttpError(
                    416, "The range is outside of the image.", {"content-range": f"bytes */{size}"}
                )
            if found != (0, -1):
                first, last = found
                status = 206
                headers["content-range"] = f"bytes {first}-{last}/{size}"
        if status == 200:
            headers["content-md5"] = opened.md5
        headers["content-length"] = str(last - first + 1)
        sending = Sending(
            self._clock, call.request, opened.reader, first, last + 1, self._stall_seconds
        )
        return sending.reply(status, headers, OCTETS.encode())


def _expected(call: Call, length: int | None) -> Expected:
    """What the client says of the data that follows.

    ``Content-MD5`` is base64 (RFC 1864), or hexadecimal as image services write it.
    """
    said = call.header("x-openstack-image-size")
    if said is not None:
        if not said.isascii() or not said.isdigit() or len(said) > 18:
            raise BadRequest("X-OpenStack-Image-Size is no number of bytes.")
        if length not in (None, int(said)):
            raise BadRequest(f"X-OpenStack-Image-Size is {said}, but {length} bytes come.")
        length = int(said)
    digest = call.header("content-md5")
    if digest is None:
        return Expected(length)
    if not _HEX.fullmatch(digest):
        try:
            raw = base64.b64decode(digest, validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if len(raw) != 16:
            raise BadRequest("Content-MD5 is no MD5 digest.")
        digest = raw.hex()
    return Expected(length, digest.lower())


def _range(first: str, last: str, size: int) -> tuple[int, int] | None:
    """The first and last byte that is asked for; (0, -1): all; None: there is no such part."""
    if not first and not last:
        return 0, -1
    if not first:
        length = min(int(last), size)
        return (size - length, size - 1) if length else None
    begin, end = int(first), int(last) if last else size - 1
    if last and end < begin:
        return 0, -1
    return (begin, min(end, size - 1)) if begin < size else None
