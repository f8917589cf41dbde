"""A cluster that is never spoken to: taken offline by an operator, or with unusable credentials."""

from __future__ import annotations

from typing import Any

from zope.interface import classImplements

from cyclades_tx.ganeti.interfaces import GanetiUnavailable, IGanetiCluster


class OfflineCluster:
    """Answers every question and every change with the same sentence.

    :param name: the cluster's.
    :param reason: a sentence; None: an operator took it offline.
    """

    def __init__(self, name: str, reason: str | None = None) -> None:
        self._reason = reason or f"Cluster {name} was taken offline by an operator."

    def __getattr__(self, call: str) -> Any:
        if call not in IGanetiCluster.names(all=True):
            raise AttributeError(call)

        async def refuse(*_: Any, **__: Any) -> Any:
            raise GanetiUnavailable(self._reason)

        return refuse


classImplements(OfflineCluster, IGanetiCluster)
