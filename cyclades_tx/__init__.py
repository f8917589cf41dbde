"""cyclades_tx: one Twisted process that turns many Ganeti clusters into one cloud."""

__version__ = "0.1.0"
