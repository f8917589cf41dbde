"""What of a first boot the database knows: the interfaces, and whatever is no one-time secret."""

from __future__ import annotations

from typing import Any

from cyclades_tx.model.first_boot import Address, Link

_STATEFUL = "dhcpv6-stateful"


async def links_of(querier: Any, server_id: int) -> tuple[Link, ...]:
    """The interfaces of a server in order, with their addresses: IPv4 first."""
    rows = await querier.all(
        "select p.id, p.mac::text as mac, n.mtu, host(a.address) as ip,"
        " masklen(s.cidr) as prefix, host(s.gateway) as gateway, s.dhcp,"
        " s.ipv6_ra_mode as ra_mode, s.ipv6_address_mode as address_mode,"
        " array(select host(d) from unnest(s.dns_nameservers) as d) as nameservers,"
        " s.host_routes as routes"
        " from port p join network n on n.id = p.network_id"
        " left join address a on a.port_id = p.id left join subnet s on s.id = a.subnet_id"
        " where p.server_id = %s order by p.position, family(a.address), a.id",
        (server_id,),
    )
    found: dict[int, Link] = {}
    for row in rows:
        known = found.get(row.id) or Link(row.mac, row.mtu)
        addresses = known.addresses if row.ip is None else (*known.addresses, _address(row))
        found[row.id] = Link(row.mac, row.mtu, addresses)
    return tuple(found.values())


def _address(row: Any) -> Address:
    six = ":" in row.ip
    return Address(
        ip=row.ip,
        prefix=row.prefix,
        gateway=row.gateway,
        dhcp=row.address_mode == _STATEFUL if six else row.dhcp,
        announced=six and row.ra_mode is not None,
        nameservers=tuple(row.nameservers),
        routes=tuple((each["destination"], each["nexthop"]) for each in row.routes),
    )


async def known_of(querier: Any, server_id: int, image_id: int | None) -> Any:
    """All that the database has for a server's first boot; None when its key is gone.

    :param image_id: of the new system; None: the server's.
    """
    return await querier.first(
        "select s.uuid::text as uuid, s.hostname, s.user_data, s.config_drive, k.public_key,"
        " i.location, i.disk_format, (select coalesce(jsonb_object_agg(p.key, p.value), '{}')"
        " from image_property p where p.image_id = i.id) as properties"
        " from server s join key_pair k on k.user_id = s.user_id and k.name = s.key_name"
        " join image i on i.id = coalesce(%s, s.image_id) where s.id = %s",
        (image_id, server_id),
    )
