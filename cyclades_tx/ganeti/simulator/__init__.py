"""A simulated Ganeti cluster that speaks RAPI, for tests, the trial run and the bench.

:class:`MemoryGaneti` is the cluster; ``twistd ganeti-simulator`` (:class:`SimulatorService`)
serves one or several of them.
"""

from __future__ import annotations

from cyclades_tx.ganeti.simulator.behaviors import Behavior, Misbehavior
from cyclades_tx.ganeti.simulator.memory import MemoryGaneti
from cyclades_tx.ganeti.simulator.service import (
    ClusterOptions,
    Options,
    SimulatedCluster,
    SimulatorCredentials,
    SimulatorService,
    make_simulator_service,
    makeService,
)
from cyclades_tx.ganeti.simulator.values import SimNode

__all__ = [
    "Behavior",
    "ClusterOptions",
    "MemoryGaneti",
    "Misbehavior",
    "Options",
    "SimNode",
    "SimulatedCluster",
    "SimulatorCredentials",
    "SimulatorService",
    "makeService",
    "make_simulator_service",
]
