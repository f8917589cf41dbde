"""A cluster that is believed only while it bears the name that its row has."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import classImplements

from cyclades_tx.ganeti.interfaces import GanetiUnavailable, IGanetiCluster
from cyclades_tx.model.instance import ClusterInfo

_CALLS = frozenset(IGanetiCluster.names(all=True))


class NamedCluster:
    """Asks a cluster for its name before the first call, and refuses all calls when it is wrong.

    An address may come to lead to another cluster, on which everything of ours is missing.

    :param cluster: an IGanetiCluster.
    :param name: what it must call itself.
    """

    def __init__(self, cluster: Any, name: str) -> None:
        self._cluster = cluster
        self._name = name
        self._right = False
        self._waiting: list[Deferred[None]] = []

    def doubt(self) -> None:
        """Ask for the name again before the next call."""
        self._right = False

    async def info(self) -> ClusterInfo:
        """Who and what the cluster is.

        :raise GanetiUnavailable: also when it has another name.
        """
        found: ClusterInfo = await self._cluster.info()
        self._right = found.name == self._name
        if not self._right:
            raise GanetiUnavailable(
                f"The cluster at the address of {self._name} calls itself {found.name[:255]}: mend"
                " the address or the name with backend-modify."
            )
        return found

    def __getattr__(self, call: str) -> Any:
        given = getattr(self._cluster, call)
        if call not in _CALLS:
            return given

        async def sure(*args: Any, **words: Any) -> Any:
            if not self._right:
                await self._asked()
            return await given(*args, **words)

        return sure

    def _asked(self) -> Deferred[None]:
        """Fires when the name has turned out right; many wait for one question."""
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        if len(self._waiting) == 1:
            Deferred.fromCoroutine(self.info()).addBoth(self._answered)
        return waiting

    def _answered(self, result: Any) -> None:
        every, self._waiting = self._waiting, []
        for waiting in every:
            waiting.callback(result)


classImplements(NamedCluster, IGanetiCluster)
