"""How long the broker may take over anything."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Patience:
    """How long things may take; none of them may take for ever.

    :ivar heartbeat_seconds: a peer that is silent for twice as long is dead.
    :ivar connect_seconds: to reach a host, and again to be let in.
    :ivar answer_seconds: for an answer to a question such as a declaration.
    :ivar confirm_seconds: for a message to be confirmed.
    :ivar retry_first_seconds: the first pause after a failure; it doubles.
    :ivar retry_limit_seconds: the longest pause.
    :ivar renew_seconds: how often queues and bindings are declared anew on a connection.
    :ivar most_waiting_bytes: bodies that may wait to be confirmed at once.
    """

    heartbeat_seconds: int = 10
    connect_seconds: float = 5.0
    answer_seconds: float = 15.0
    confirm_seconds: float = 30.0
    retry_first_seconds: float = 0.5
    retry_limit_seconds: float = 15.0
    renew_seconds: float = 60.0
    most_waiting_bytes: int = 256 * 2**20
