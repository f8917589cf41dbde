"""What ``twistd`` can start on a Ganeti node; never an ``__init__.py`` beside this file.

Names as text only: nothing of ours is imported until it is chosen.
"""

from twisted.application.service import ServiceMaker

ganeti_eventd = ServiceMaker(
    "ganeti-eventd",
    "cyclades_tx.gtools.eventd",
    "Tells what happens to Ganeti's jobs.",
    "ganeti-eventd",
)
