"""What a step asks of the cluster."""

from __future__ import annotations

import pytest

from tests.loops.cloud import Cloud


@pytest.mark.parametrize("seconds", [None, 0, 7])
async def test_a_guest_has_the_time_that_was_said(driven: Cloud, seconds: int | None) -> None:
    """Or as much as its cluster gives it; no time is not the same as none said."""
    uuid = await driven.active()
    await driven.world.servers.stop(driven.who, uuid, "req-1", seconds)
    await driven.until_state(uuid, "stopped", "off")
    (op,) = [
        op
        for job in driven.ganeti.queue.jobs.values()
        for op in job.ops
        if op["OP_ID"] == "OP_INSTANCE_SHUTDOWN"
    ]
    assert op.get("timeout") == seconds
