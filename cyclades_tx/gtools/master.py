"""Who the cluster's master is, as the files that Ganeti keeps on every node say."""

from __future__ import annotations

import os
from pathlib import Path

_MAX_BYTES = 4096

#: What tells one version of a file from the next.
_Stamp = tuple[int, int, int]


class NameFile:
    """A file with one name in it, read again only when it was replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: _Stamp | None = None
        self.value = ""

    def read(self) -> str:
        """Return the name; the last one while the file cannot be read, "" before the first."""
        try:
            state = os.stat(self._path)
            stamp = (state.st_mtime_ns, state.st_ino, state.st_size)
            if stamp != self._stamp:
                with open(self._path, "rb") as file:
                    text = file.read(_MAX_BYTES).decode("utf-8", "replace").strip()
                if text:
                    self.value, self._stamp = text, stamp
        except OSError:
            pass
        return self.value


class Mastership:
    """Whether this node is the master, and of which cluster."""

    def __init__(self, data_folder: str, own_name: str) -> None:
        """Prepare.

        :param data_folder: Ganeti's, with its ``ssconf_`` files.
        :param own_name: this node, as Ganeti calls it.
        """
        self._own_name = own_name.lower()
        self._master = NameFile(Path(data_folder, "ssconf_master_node"))
        self._cluster = NameFile(Path(data_folder, "ssconf_cluster_name"))
        self._told: tuple[str, str] = ("", "")

    @property
    def known(self) -> bool:
        """Whether the files say both names."""
        return bool(self._cluster.read() and self._master.read())

    @property
    def cluster(self) -> str:
        """The cluster's name; "" while it is not known."""
        return self._cluster.read() or self._told[0]

    @property
    def master(self) -> str:
        """The master's name; "" while it is not known."""
        return self._master.read() or self._told[1]

    def tell(self, cluster: str, master: str) -> None:
        """Take what Ganeti's socket says, for where the files cannot be read; "": nothing."""
        self._told = (cluster, master)

    def here(self) -> bool:
        """Return whether this node is the master now; costs two calls of ``stat``."""
        return bool(self.cluster) and self.master.lower() == self._own_name
