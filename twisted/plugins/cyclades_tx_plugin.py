"""What ``twistd`` can start. There must never be an ``__init__.py`` beside this file.

Names as text only: nothing of ours is imported until one of them is chosen.
"""

from twisted.application.service import ServiceMaker

cyclades_tx = ServiceMaker(
    "cyclades_tx",
    "cyclades_tx.app",
    "One OpenStack cloud in front of many Ganeti clusters.",
    "cyclades_tx",
)

ganeti_simulator = ServiceMaker(
    "ganeti-simulator",
    "cyclades_tx.ganeti.simulator",
    "A simulated Ganeti cluster that speaks RAPI.",
    "ganeti-simulator",
)

vncauthproxy = ServiceMaker(
    "vncauthproxy",
    "cyclades_tx.console.standalone",
    "The VNC authentication proxy alone.",
    "vncauthproxy",
)
