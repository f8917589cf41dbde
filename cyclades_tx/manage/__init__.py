"""``snf-manage``: the operator's command line, over the same flows as the service."""

from __future__ import annotations


def main() -> None:
    """Run one command and end the process with its exit code."""
    from cyclades_tx.manage.app import run

    run()


__all__ = ["main"]
