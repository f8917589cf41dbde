"""What a person can ask for about subnet pools, and subnets that are cut from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from cyclades_tx.errors import BadRequest, Conflict, Forbidden
from cyclades_tx.flows.charged_project import charged_project
from cyclades_tx.model import address, subnet_pool
from cyclades_tx.model.who import Who
from cyclades_tx.store import network_changes
from cyclades_tx.store import subnet_pools as store

_NAME_LIMIT = 255
_MOST_QUOTA = 2**62


@dataclass(frozen=True)
class WantedPool:
    """A subnet pool that somebody wants.

    :ivar least: the shortest prefix of a subnet, ``most`` the longest; None: what is possible.
    :ivar quota: what one project may have of it: IPv4 addresses, or /64 of IPv6.
    """

    name: str
    prefixes: tuple[str, ...]
    description: str = ""
    least: int | None = None
    default: int | None = None
    most: int | None = None
    quota: int | None = None
    shared: bool = False
    is_default: bool = False
    project_id: str | None = None


@dataclass(frozen=True)
class Cut:
    """A prefix that was taken from a pool for a subnet."""

    cidr: str
    pool_id: int


class SubnetPools:
    """The flows of subnet pools."""

    def __init__(self, database: Any) -> None:
        self._database = database

    async def create(self, who: Who, wanted: Sequence[WantedPool]) -> list[str]:
        """Make pools, all or none; return their UUIDs.

        :raise Forbidden: when somebody else than an administrator wants a shared or default one.
        :raise BadRequest: for prefixes or lengths that are none.
        """
        checked = [(each, _columns(who, each)) for each in wanted]

        async def work(tx: Any) -> list[str]:
            made = []
            for each, (columns, prefixes) in checked:
                project_id = await charged_project(tx, who, each.project_id)
                made.append(await store.insert(tx, project_id, columns, prefixes))
            return made

        found: list[str] = await self._database.transaction(work, "subnet_pool.create")
        return found

    async def update(
        self, who: Who, ref: str, changes: Mapping[str, Any], revision: int | None = None
    ) -> str:
        """Change a pool; return its UUID.

        :param changes: ``name``, ``description``, ``prefixes``, ``least``, ``default``, ``most``,
            ``quota``, ``is_default``: what is absent stays.
        :raise BadRequest: also when a prefix would leave the pool.
        """
        _check_texts(changes.get("name", ""), changes.get("description", ""))
        _check_quota(changes.get("quota"))
        if "is_default" in changes and not who.admin:
            raise Forbidden("Only an administrator can choose the default subnet pool.")

        async def work(tx: Any) -> str:
            pool = await store.lock(tx, who, ref)
            network_changes.check_revision(pool, revision)
            columns = {
                name: changes[name]
                for name in ("name", "description", "is_default")
                if name in changes
            }
            if "quota" in changes:
                columns["default_quota"] = changes["quota"]
            lengths = subnet_pool.lengths_from(
                pool.ip_version,
                changes.get("least", pool.min_prefixlen),
                changes.get("default", pool.default_prefixlen),
                changes.get("most", pool.max_prefixlen),
            )
            columns |= _lengths(lengths)
            if "prefixes" in changes:
                before = await store.prefixes_of(tx, pool.id)
                after = subnet_pool.prefixes_from(changes["prefixes"])
                added = subnet_pool.grown(before, after)
                await store.add_prefixes(tx, pool.id, after, added)
            await store.change(tx, pool, columns)
            return str(pool.uuid)

        found: str = await self._database.transaction(work, "subnet_pool.update")
        return found

    async def delete(self, who: Who, ref: str, revision: int | None = None) -> None:
        """Delete a pool that no subnet is of."""

        async def work(tx: Any) -> None:
            pool = await store.lock(tx, who, ref)
            network_changes.check_revision(pool, revision)
            await store.delete(tx, pool)

        await self._database.transaction(work, "subnet_pool.delete")


async def cut(
    tx: Any,
    who: Who | None,
    project_id: str | None,
    pool_ref: str,
    version: int,
    *,
    cidr: str = "",
    prefixlen: int | None = None,
) -> Cut:
    """Take a subnet's range from a pool; the network of the subnet is locked.

    :param project_id: whose network it is.
    :param pool_ref: the UUID of a pool, or ``"default"`` for the default one.
    :param cidr: this range; empty: any of the length.
    :raise Conflict: when none is free, or the project may not have that much of the pool.
    """
    if pool_ref == "default":
        found = await store.default_of(tx, version)
        if found is None:
            raise BadRequest(
                f"No default subnetpool found for IPv{version}.", neutron_type="BadRequest"
            )
        # Whoever is sent to it need not see it.
        pool = await store.lock(tx, None, found)
    else:
        pool = await store.lock(tx, who, pool_ref, own=False)
    if pool.ip_version != version:
        raise _wrong(f"ip_version {version} does not match the subnet pool's {pool.ip_version}")
    wanted = address.parse_subnet(cidr) if cidr else None
    if wanted is not None and wanted.version != version:
        raise _wrong(f"ip_version {version} does not match cidr {cidr}")
    length = wanted.prefixlen if wanted is not None else prefixlen
    if length is None:
        length = pool.default_prefixlen
    _check_length(pool, length)
    if pool.default_quota is not None:
        used = await store.used_by(tx, pool, project_id)
        network = wanted or ip_network(("0.0.0.0" if version == 4 else "::", length))
        if used + subnet_pool.weight(network) > pool.default_quota:
            raise Conflict(
                "Per-tenant subnet pool prefix quota exceeded.", "SubnetPoolQuotaExceeded"
            )
    if wanted is None:
        wanted = address.parse_subnet(str(await store.take(tx, pool, length)))
    else:
        await store.take_given(tx, pool, wanted)
    return Cut(str(wanted), pool.id)


def _check_length(pool: Any, length: int) -> None:
    if length < pool.min_prefixlen:
        raise BadRequest(
            f"Unable to allocate subnet with prefix length {length}, minimum allowed prefix is"
            f" {pool.min_prefixlen}.",
            neutron_type="MinPrefixSubnetAllocationError",
        )
    if length > pool.max_prefixlen:
        raise BadRequest(
            f"Unable to allocate subnet with prefix length {length}, maximum allowed prefix is"
            f" {pool.max_prefixlen}.",
            neutron_type="MaxPrefixSubnetAllocationError",
        )
    version = pool.ip_version
    if not subnet_pool.WIDEST[version] <= length <= subnet_pool.NARROWEST[version]:
        raise _wrong(
            f"a cluster can have IPv{version} subnets from /{subnet_pool.WIDEST[version]} to"
            f" /{subnet_pool.NARROWEST[version]}, not /{length}"
        )


def _columns(who: Who, wanted: WantedPool) -> tuple[dict[str, Any], tuple[Any, ...]]:
    _check_texts(wanted.name, wanted.description)
    _check_quota(wanted.quota)
    if (wanted.shared or wanted.is_default) and not who.admin:
        raise Forbidden("Only an administrator can make a shared or default subnet pool.")
    prefixes = subnet_pool.prefixes_from(wanted.prefixes)
    version = prefixes[0].version
    lengths = subnet_pool.lengths_from(version, wanted.least, wanted.default, wanted.most)
    columns = {
        "name": wanted.name,
        "description": wanted.description,
        "ip_version": version,
        "default_quota": wanted.quota,
        "shared": wanted.shared,
        "is_default": wanted.is_default,
    }
    return columns | _lengths(lengths), prefixes


def _lengths(lengths: subnet_pool.Lengths) -> dict[str, Any]:
    return {
        "min_prefixlen": lengths.least,
        "default_prefixlen": lengths.default,
        "max_prefixlen": lengths.most,
    }


def _check_quota(quota: int | None) -> None:
    if quota is not None and not 0 <= quota <= _MOST_QUOTA:
        raise _wrong("default_quota is a number from 0")


def _check_texts(*texts: str) -> None:
    for text in texts:
        if len(text) > _NAME_LIMIT or "\0" in text:
            raise _wrong(f"{text[:40]!r} is longer than {_NAME_LIMIT} characters or has a NUL")


def _wrong(why: str) -> BadRequest:
    return BadRequest(f"Invalid input for operation: {why}.", neutron_type="InvalidInput")
