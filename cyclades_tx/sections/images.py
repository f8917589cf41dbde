"""The data of images: where they lie, and from where they may come."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from cyclades_tx.sections.values import Seconds, Section, Text

#: The beginning of a URL: at least a scheme and a host.
Beginning = Annotated[str, Meta(max_length=1000, pattern=r"^(https?|pithos|file)://[!-~]+$")]


class ImageSection(Section, frozen=True):
    """Where the data of images lie, and from where they may come.

    :ivar store: where data that users send are kept: in a ``directory``, or in an OpenStack Object
        Storage (``swift``).
    :ivar directory: for the store ``directory``, the same for every process with the role ``api``
        or ``vmapi``; empty: users cannot send any.
    :ivar max_image_gib: the largest image.
    :ivar project_gib: what the images of one project may take together; 0: any amount.
    :ivar threads: how many images are written and read at the very same moment.
    :ivar upload_silence_seconds: after this an upload whose process has ended is given up, and its
        image waits for data again.
    :ivar min_transfer_kib_per_second: who sends the data of an image more slowly, or takes them
        more slowly, is refused.
    :ivar transfer_window_seconds: the time over which that is averaged; only the time counts in
        which the sender was waited for.
    :ivar sweep_seconds: period of the search for what was left behind.
    :ivar orphan_grace_seconds: how long whole data that no image has are left alone.
    :ivar signed_url_seconds: how long clusters may fetch an image for a new machine.
    :ivar locations: beginnings of URLs from which users may have images fetched, such as
        ``https://images.example.org/linux``; empty: none.
    :ivar private_networks: networks that are not public, to which such a URL may lead all the same.
    """

    store: Literal["directory", "swift"] = "directory"
    directory: Text = ""
    max_image_gib: Annotated[int, Meta(ge=1, le=1_048_576)] = 100
    project_gib: Annotated[int, Meta(ge=0, le=1_048_576)] = 500
    threads: Annotated[int, Meta(ge=1, le=64)] = 4
    upload_silence_seconds: Annotated[float, Meta(ge=1.0, le=3600.0)] = 60.0
    min_transfer_kib_per_second: Annotated[float, Meta(ge=0.001, le=1_048_576.0)] = 16.0
    transfer_window_seconds: Annotated[float, Meta(ge=1.0, le=86_400.0)] = 30.0
    sweep_seconds: Seconds = 60.0
    orphan_grace_seconds: Annotated[float, Meta(ge=0.0, le=31_536_000.0)] = 3600.0
    signed_url_seconds: Annotated[float, Meta(ge=60.0, le=604_800.0)] = 7200.0
    locations: tuple[Beginning, ...] = ()
    private_networks: tuple[Text, ...] = ()

    @property
    def pace(self) -> tuple[float, float]:
        """How fast data must come and go: bytes per second, and the window in seconds."""
        return 1024 * self.min_transfer_kib_per_second, self.transfer_window_seconds


class SwiftSection(Section, frozen=True):
    """The OpenStack Object Storage that keeps the data of images, for the store ``swift``.

    :ivar auth_url: Keystone's, ending in ``/v3``; https, but on this machine.
    :ivar region: of the Object Storage in Keystone's catalog; empty: the first there.
    :ivar interface: which of its addresses in the catalog.
    :ivar username: who we are there.
    :ivar user_domain: its domain, by name.
    :ivar project: whose account the images are in.
    :ivar project_domain: its domain, by name.
    :ivar application_credential_id: instead of a user and a project.
    :ivar secret_file: holds the password, or the secret of the application credential, alone; mode
        0600 or stricter.
    :ivar authorities_file: PEM with who signs the certificates there; empty: the system's.
    :ivar container: for images alone; made when it is missing.
    :ivar segment_mib: in pieces of this size an image is kept; it has at most a thousand.
    :ivar timeout_seconds: how long it may say, or take, nothing.
    """

    auth_url: Text = ""
    region: Text = ""
    interface: Literal["public", "internal", "admin"] = "public"
    username: Text = ""
    user_domain: Text = "Default"
    project: Text = ""
    project_domain: Text = "Default"
    application_credential_id: Text = ""
    secret_file: Text = ""
    authorities_file: Text = ""
    container: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,200}$")] = "cyclades-images"
    segment_mib: Annotated[int, Meta(ge=1, le=5119)] = 256
    timeout_seconds: Seconds = 60.0
