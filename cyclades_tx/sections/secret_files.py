"""Files that hold one secret, which only their owner may read."""

from __future__ import annotations

import os
import stat

from cyclades_tx.errors import ConfigError

#: Larger files are refused unread; a real one has a few kilobytes.
MAX_FILE_BYTES = 1_048_576


def read_secret(path: str | os.PathLike[str]) -> str:
    """The text of a file that only its owner may read, without the white space around it.

    :raise ConfigError: when it is missing, empty, or open to anyone else.
    """
    try:
        # Not blocking: a FIFO in the file's place must not hold the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            state = os.fstat(descriptor)
            if not stat.S_ISREG(state.st_mode):
                raise ConfigError(f"{path}: a secret must be in a regular file")
            if state.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                mode = stat.S_IMODE(state.st_mode)
                raise ConfigError(f"{path}: mode {mode:04o} lets others in; it must be 0600")
            text = file.read(MAX_FILE_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError(f"{path}: {reason}") from None
    if not text:
        raise ConfigError(f"{path}: the file is empty")
    return text
