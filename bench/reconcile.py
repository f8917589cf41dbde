"""Drift: a cluster of many instances, as it should be and with one in a hundred of each fault."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2
from twisted.internet.task import Clock

from bench.cloud import Cloud, until
from bench.figures import Figure
from bench.lag import Lag
from cyclades_tx.ganeti.simulator import MemoryGaneti
from cyclades_tx.ganeti.simulator.hand import Hand
from cyclades_tx.ganeti.simulator.values import SimDisk, SimInstance, SimNetwork, SimNic
from cyclades_tx.store.quotas import RECOUNT

COUNT = 10_000
LAG_PERIOD_SECONDS = 0.005
#: The service looks so often; the faults are planted in between.
LOOK_SECONDS = 10.0
PATIENCE_SECONDS = 120.0
_NETWORK = 77

Planted = set[tuple[str, int]]
Fault = Callable[[Hand, str, int], None]

#: Servers of a hundred projects, since those of one stand in line for its holdings.
_SEED = """
insert into project (id, name) select md5(n::text), 'bench ' || n from generate_series(0, 99) n;
insert into holding (project_id, resource)
select md5(n::text), r.resource
from generate_series(0, 99) n, (select distinct resource from holding) r;
insert into network (id, name, flavor, mode, link, mac_prefix, shared) overriding system value
values (%(network)s, 'bench', 'CUSTOM', 'bridged', 'br0', 'aa:00:0', true);
insert into cluster_network (network_id, cluster_id, state, mac_prefix)
values (%(network)s, %(cluster)s, 'active', 'aa:00:00');
insert into subnet (id, network_id, cidr, gateway) overriding system value
values (%(network)s, %(network)s, '10.64.0.0/15', '10.64.0.1');
insert into allocation_pool values (%(network)s, '10.64.0.2', '10.65.255.254');
insert into free_address_range
values (%(network)s, '10.64.0.2'::inet + %(count)s, '10.65.255.254');
insert into server (id, name, user_id, project_id, cluster_id, flavor_id, vcpus, memory_mib,
    reservation_id, state, charge, ganeti_status, ganeti_serial, deleted_at, terminated_at,
    updated_at, launched_at)
overriding system value
select g, 'server ' || g, %(user)s, md5((g %% 100)::text), %(cluster)s, %(flavor)s, 1, 512, 'r-1',
    case when g <= %(count)s then 'active' else 'deleted' end,
    case when g <= %(count)s then 'on' else 'none' end, 'running', 1,
    case when g > %(count)s then now() - interval '1 day' end,
    case when g > %(count)s then now() - interval '1 day' end, now() - interval '1 day',
    now() - interval '1 day'
from generate_series(1, %(count)s + %(count)s / 100) g;
insert into volume (id, user_id, project_id, size_gib, volume_type_id, local, bootable, status,
    server_id, position, initialised)
overriding system value
select s.id, s.user_id, s.project_id, 1, f.volume_type_id, true, true, 'in_use', s.id, 0, true
from server s join flavor f on f.id = s.flavor_id where s.deleted_at is null;
insert into port (id, network_id, project_id, user_id, server_id, position, mac, state, automatic,
    device_owner)
overriding system value
select s.id, %(network)s, s.project_id, s.user_id, s.id, 0,
    ('aa0000' || lpad(to_hex(s.id), 6, '0'))::macaddr, 'active', true, 'compute:nova'
from server s where s.deleted_at is null;
insert into address (subnet_id, address, port_id)
select %(network)s, '10.64.0.1'::inet + p.id, p.id from port p where network_id = %(network)s;
select setval(pg_get_serial_sequence('server', 'id'), 1000000),
    setval(pg_get_serial_sequence('volume', 'id'), 1000000),
    setval(pg_get_serial_sequence('port', 'id'), 1000000);
"""


def alone(count: int = COUNT) -> list[Figure]:
    """Measure in a folder of its own.

    :param count: how many instances; a multiple of 100.
    """
    with tempfile.TemporaryDirectory(prefix="cyclades-tx-reconcile-") as folder:
        return Reconcile(Path(folder), count).run()


class Reconcile:
    """The service beside a cluster that it has not seen change.

    :param count: how many instances; a multiple of 100.
    """

    def __init__(self, folder: Path, count: int = COUNT) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._count = count
        self._state = folder / "cluster.state"
        self._cloud = Cloud(folder, clusters=1, job_seconds=0.05)
        simulators = self._cloud._simulators._config
        text = simulators.read_text().replace(
            "job_seconds", f'state = "{self._state}"\njob_seconds'
        )
        simulators.write_text(text)

    def run(self) -> list[Figure]:
        """Measure; what was started is ended."""
        cloud = self._cloud
        try:
            cloud.start()
            self._configure()
            self._seed()
            cloud._simulators.stop()
            self._change(self._fill)
            cloud._simulators.start()
            return self._measure()
        finally:
            cloud.stop()

    def _measure(self) -> list[Figure]:
        cloud = self._cloud
        cloud.start_service(LAG_PERIOD_SECONDS)
        self._next_look(None)
        # The first look is not counted: it comes in the middle of the start.
        before = Lag.read(cloud.metrics())
        well = self._next_look(self._looked())
        invented = self._findings()
        quiet = Lag.read(cloud.metrics()).since(before)
        cloud._simulators.stop()
        planted: Planted = set()
        self._change(lambda ganeti: planted.update(self._plant(ganeti.by_hand)))
        cloud._simulators.start()
        before = Lag.read(cloud.metrics())
        wrong = self._next_look(self._looked())
        found = self._findings()
        self._next_look(self._looked())
        busy = Lag.read(cloud.metrics()).since(before)
        left = Counter(
            kind
            for (kind,) in cloud.rows("select kind from drift_finding where remedied_at is null")
        )
        return self._figures(well, wrong, quiet, busy, invented, planted, found, left)

    def _figures(
        self,
        well: dict[str, float],
        wrong: dict[str, float],
        quiet: Lag,
        busy: Lag,
        invented: Planted,
        planted: Planted,
        found: Planted,
        left: Counter[str],
    ) -> list[Figure]:
        name = f"drift, {self._count:,} instances"
        late = [lag.counts[-1][1] - dict(lag.counts)[0.1] for lag in (quiet, busy)]
        (off,) = self._cloud.rows(f"select count(*) from ({RECOUNT}) r where used <> counted_used")[
            0
        ]
        return [
            Figure(f"{name}, nothing wrong: time", well["seconds"], "s", "<", 10),
            Figure(f"{name}, nothing wrong: invented", len(invented), "", "==", 0),
            Figure(f"{name}, nothing wrong: lag p99", quiet.seconds_at(0.99) * 1000, "ms", "<", 20),
            Figure(f"{name}, nothing wrong: lags over 100 ms", late[0], "", "==", 0),
            Figure(f"{name}, 1 % of each wrong: planted", len(planted)),
            Figure(f"{name}, 1 % of each wrong: time until found", wrong["found"], "s", "<", 10),
            Figure(f"{name}, 1 % of each wrong: time until mended", wrong["seconds"], "s"),
            Figure(f"{name}, 1 % of each wrong: not found", len(planted - found), "", "==", 0),
            Figure(f"{name}, 1 % of each wrong: invented", len(found - planted), "", "==", 0),
            Figure(f"{name}, 1 % of each wrong: left to an operator", sum(left.values())),
            Figure(f"{name}, 1 % of each wrong: holdings off", off, "", "==", 0),
            Figure(
                f"{name}, 1 % of each wrong: lag p99", busy.seconds_at(0.99) * 1000, "ms", "<", 20
            ),
            Figure(f"{name}, 1 % of each wrong: lags over 100 ms", late[1], "", "==", 0),
        ]

    # Looks

    def _looked(self) -> Any:
        rows = self._cloud.rows("select looked_at from drift_look")
        return rows[0][0] if rows else None

    def _lines(self) -> list[dict[str, Any]]:
        log = (self._cloud.folder / "service.json").read_text().splitlines()
        return [line for line in map(json.loads, log) if line.get("event") == "drift.looked"]

    def _next_look(self, earlier: Any) -> dict[str, float]:
        """Wait until a look is over, with what it mends; how long it took."""
        done = len(self._lines())

        def over() -> bool:
            self._cloud.service.check()
            return self._looked() != earlier and len(self._lines()) > done

        until(over, "the cluster was looked at", PATIENCE_SECONDS)
        ((found,),) = self._cloud.rows("select seconds from drift_look")
        return {"found": found, "seconds": self._lines()[-1]["seconds"]}

    def _findings(self) -> Planted:
        return set(self._cloud.rows("select kind, server_id from drift_finding"))

    # What there is

    def _configure(self) -> None:
        config = self._cloud._config
        keys = f"poll_idle_seconds = 3600.0\ndrift_seconds = {LOOK_SECONDS}\n"
        text = config.read_text().replace("[ganeti]\n", f"[ganeti]\n{keys}")
        config.write_text(text)

    def _seed(self) -> None:
        connection = psycopg2.connect(self._cloud.dsn)
        with connection, connection.cursor() as cursor:
            cursor.execute("select id from cluster")
            cluster = cursor.fetchone()[0]
            cursor.execute("select f.id from flavor f order by id limit 1")
            flavor = cursor.fetchone()[0]
            cursor.execute(
                _SEED,
                {
                    "network": _NETWORK,
                    "cluster": cluster,
                    "flavor": flavor,
                    "user": "0" * 32,
                    "count": self._count,
                },
            )
            cursor.execute(
                f"update holding h set used = r.counted_used from ({RECOUNT}) r"
                " where r.project_id = h.project_id and r.resource = h.resource"
            )
            cursor.execute("analyze")
        connection.close()

    def _change(self, work: Callable[[MemoryGaneti], Any]) -> None:
        """Change the cluster while nobody serves it."""
        ganeti = MemoryGaneti(Clock(), "bench1.example.org", 2, state_path=self._state)
        try:
            work(ganeti)
        finally:
            ganeti.stop()

    def _fill(self, ganeti: MemoryGaneti) -> None:
        net = f"snf-net-{_NETWORK}"
        ganeti.inventory.put_network(
            SimNetwork(
                net,
                ganeti.inventory.new_uuid(),
                "10.64.0.0/15",
                "10.64.0.1",
                mac_prefix="aa:00:00",
                groups=(("default", "bridged", "br0"),),
            )
        )
        nodes = list(ganeti.inventory.nodes)
        ganeti.by_hand.put_all(
            SimInstance(
                name=f"snf-{number}",
                uuid=ganeti.inventory.new_uuid(),
                pnode=nodes[number % 2],
                os="snf-image+default",
                disk_template="file",
                vcpus=1,
                memory=512,
                nics=(
                    SimNic(
                        f"snf-nic-{number}",
                        f"aa:00:00:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}",
                        _address(number),
                        net,
                        ganeti.inventory.new_uuid(),
                        "bridged",
                        "br0",
                    ),
                ),
                disks=(SimDisk(f"snf-vol-{number}", 1024, ganeti.inventory.new_uuid()),),
                admin_up=True,
                running=True,
            )
            for number in range(1, self._count + 1)
        )

    def _plant(self, hand: Hand) -> Planted:
        planted: Planted = set()
        share = self._count // 100
        numbers = iter(range(1, self._count + 1))
        net = f"snf-net-{_NETWORK}"
        faults: list[tuple[str, Fault]] = [
            ("power_differs", lambda h, name, n: h.stop(name)),
            ("power_unknown", lambda h, name, n: h.change(name, pnode="gone.example.org")),
            ("size_differs", lambda h, name, n: h.resize(name, 2, 1024)),
            ("nic_missing", lambda h, name, n: h.remove_nic(name, 0)),
            ("nic_extra", lambda h, name, n: h.add_nic(name, net, _address(100_000 + n))),
            ("nic_differs", lambda h, name, n: h.change_nic(name, 0, ip=_address(110_000 + n))),
            ("nic_differs", lambda h, name, n: h.change_nic(name, 0, mac=_mac(n))),
            ("nic_differs", lambda h, name, n: h.tag(name, _tag(n))),
            ("disk_missing", lambda h, name, n: h.remove_disk(name, 0)),
            ("disk_extra", lambda h, name, n: h.add_disk(name, 2048)),
            ("disk_differs", lambda h, name, n: h.grow_disk(name, 0, 4096)),
            ("stale", lambda h, name, n: h.remove(name)),
        ]
        hand = Hand(hand._has, lambda: None)
        for kind, plant in faults:
            for _ in range(share):
                number = next(numbers)
                plant(hand, f"snf-{number}", number)
                planted.add((kind, number))
        for number in range(share):
            hand.add(f"snf-{self._count + 1 + number}")
            hand.add(f"snf-{5_000_000 + number}")
            planted |= {("orphan", self._count + 1 + number), ("stranger", 5_000_000 + number)}
        return planted


def _address(number: int) -> str:
    host = number + 1
    return f"10.{64 + (host >> 16)}.{host >> 8 & 255}.{host & 255}"


def _mac(number: int) -> str:
    return f"aa:00:01:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"


def _tag(number: int) -> str:
    return f"synnefo:network:snf-nic-{number}:limited"
