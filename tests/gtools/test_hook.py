"""The hook: the cards of Ganeti's environment, and never a failed operation."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyclades_tx.gtools.hook import BadEnvironment, message
from tests.gtools.values import PATIENT

NOW = 1_700_000_000.5
DUMP = {
    "GANETI_CLUSTER": "g1.test",
    "GANETI_MASTER": "n1.g1.test",
    "GANETI_HOOKS_PATH": "instance-start",
    "GANETI_HOOKS_PHASE": "post",
    "GANETI_INSTANCE_NAME": "snf-1",
    "GANETI_INSTANCE_TAGS": "synnefo:network:snf-nic-1:protected other",
    "GANETI_INSTANCE_NIC_COUNT": "2",
    "GANETI_INSTANCE_NIC0_NAME": "snf-nic-1",
    "GANETI_INSTANCE_NIC0_MAC": "aa:00:01:99:2f:cc",
    "GANETI_INSTANCE_NIC0_IP": "10.0.0.30",
    "GANETI_INSTANCE_NIC0_LINK": "br0",
    "GANETI_INSTANCE_NIC0_BRIDGE": "br0",
    "GANETI_INSTANCE_NIC0_NETWORK_NAME": "snf-net-1",
    "GANETI_INSTANCE_NIC0_NETWORK_SUBNET6": "2001:db8::/64",
    "GANETI_INSTANCE_NIC1_MAC": "aa:00:01:99:2f:cd",
    "GANETI_INSTANCE_NIC1_IP": "",
    "GANETI_INSTANCE_NIC1_LINK": "100",
}


def test_the_cards_are_told_as_they_were_in_old_days() -> None:
    """With the address that a card gives itself, and its firewall."""
    assert message(DUMP, NOW) == {
        "type": "ganeti-net-status",
        "instance": "snf-1",
        "event_time": [1_700_000_000, 500_000],
        "nics": [
            {
                "mac": "aa:00:01:99:2f:cc",
                "ip": "10.0.0.30",
                "link": "br0",
                "network": "snf-net-1",
                "ipv6": "2001:db8::a800:1ff:fe99:2fcc",
                "firewall": "protected",
            },
            {
                "mac": "aa:00:01:99:2f:cd",
                "ip": None,
                "link": "100",
                "network": None,
                "ipv6": None,
                "firewall": None,
            },
        ],
    }


def test_the_state_after_the_operation_counts() -> None:
    """Ganeti gives both."""
    later = {
        name.replace("GANETI_INSTANCE_", "GANETI_POST_INSTANCE_"): value
        for name, value in DUMP.items()
        if name.startswith("GANETI_INSTANCE_NIC0")
    }
    later |= {"GANETI_POST_INSTANCE_NIC_COUNT": "1", "GANETI_POST_INSTANCE_NIC0_IP": "10.0.0.99"}
    said = message({**DUMP, **later}, NOW)
    assert said is not None
    assert [nic["ip"] for nic in said["nics"]] == ["10.0.0.99"]


@pytest.mark.parametrize(
    "change",
    [
        {"GANETI_HOOKS_PHASE": "pre"},
        {"GANETI_HOOKS_PATH": "instance-stop"},
        {"GANETI_HOOKS_PATH": "network-add"},
    ],
)
def test_other_operations_are_none_of_its_business(change: dict[str, str]) -> None:
    """It may be linked anywhere."""
    assert message({**DUMP, **change}, NOW) is None


@pytest.mark.parametrize(
    "missing", ["GANETI_INSTANCE_NAME", "GANETI_INSTANCE_NIC_COUNT", "GANETI_INSTANCE_NIC1_MAC"]
)
def test_an_incomplete_environment_is_not_guessed_at(missing: str) -> None:
    """Cards are numbered from 0 without a gap."""
    with pytest.raises(BadEnvironment):
        message({name: value for name, value in DUMP.items() if name != missing}, NOW)


@PATIENT
@given(st.dictionaries(st.sampled_from(sorted(DUMP)), st.text(max_size=20)))
def test_any_environment_is_a_message_or_refused(change: dict[str, str]) -> None:
    """Nothing else comes out."""
    try:
        said = message({**DUMP, **change}, NOW)
    except BadEnvironment:
        return
    assert said is None or said["type"] == "ganeti-net-status"


@pytest.mark.parametrize("foreground", [[], ["--foreground"]])
@pytest.mark.parametrize("broken", [False, True])
def test_an_operation_is_neither_failed_nor_held_up(
    tmp_path: Path, foreground: list[str], broken: bool
) -> None:
    """Without a configuration, and without the variables."""
    environment = {} if broken else DUMP
    before = time.monotonic()
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from cyclades_tx.gtools.hook import main; exit(main())",
            "--config",
            str(tmp_path / "none"),
            *foreground,
        ],
        env={**environment, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert time.monotonic() - before < 30
