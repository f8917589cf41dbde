"""A cluster that an operator has taken offline: it is never spoken to."""

from __future__ import annotations

from typing import Any

from zope.interface import classImplements

from cyclades_tx.ganeti.interfaces import GanetiUnavailable, IGanetiCluster


class OfflineCluster:
    """Answers every question and every change with the same sentence.

    :param name: the cluster's.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, call: str) -> Any:
        if call not in IGanetiCluster.names(all=True):
            raise AttributeError(call)

        async def refuse(*_: Any, **__: Any) -> Any:
            raise GanetiUnavailable(f"Cluster {self._name} was taken offline by an operator.")

        return refuse


classImplements(OfflineCluster, IGanetiCluster)
