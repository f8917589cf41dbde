"""The limits that the kernel sets on this process."""

from __future__ import annotations

import resource

#: Some containers allow a thousand million: more than this many buys nothing.
ENOUGH_DESCRIPTORS = 1_048_576


def raise_descriptor_limit() -> int:
    """Allow as many open files and sockets as the hard limit lets us have.

    :return: the limit that holds now.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, ENOUGH_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft
