"""Extensions: names from the time before microversions, which some clients still ask for."""

from __future__ import annotations

from cyclades_tx.api.call import Call, Reply
from cyclades_tx.api.compute.routes import Routes
from cyclades_tx.errors import NotFound

_KNOWN = (
    ("AccessIPs", "os-access-ips", "Access IPs support."),
    ("AvailabilityZone", "os-availability-zone", "The zones that servers run in."),
    ("ConfigDrive", "os-config-drive", "A drive with the configuration of a server."),
    ("DiskConfig", "OS-DCF", "How the disk of a server is divided."),
    ("ExtendedAvailabilityZone", "OS-EXT-AZ", "The zone of a server."),
    ("ExtendedIps", "OS-EXT-IPS", "The type of each address."),
    ("ExtendedIpsMac", "OS-EXT-IPS-MAC", "The MAC address behind each address."),
    ("ExtendedServerAttributes", "OS-EXT-SRV-ATTR", "Attributes for administrators."),
    ("ExtendedStatus", "OS-EXT-STS", "Power, task and machine state of a server."),
    ("ExtendedVolumes", "os-extended-volumes", "The volumes of a server."),
    ("FlavorDisabled", "OS-FLV-DISABLED", "Whether a flavor can still be used."),
    ("FlavorExtraData", "OS-FLV-EXT-DATA", "Further facts of flavors."),
    ("FlavorExtraSpecs", "os-flavor-extra-specs", "Further specifications of flavors."),
    ("FloatingIpPools", "os-floating-ip-pools", "Networks that give floating IPs, up to 2.35."),
    ("FloatingIps", "os-floating-ips", "Floating IPs, up to 2.35."),
    ("ImageSize", "image-size", "The size of an image, up to 2.35."),
    ("InstanceActions", "os-instance-actions", "What was done with a server."),
    ("Keypairs", "os-keypairs", "Keys for logging in to servers."),
    ("MultipleCreate", "os-multiple-create", "Several servers at once."),
    ("Networks", "os-networks", "Networks, up to 2.35."),
    ("OSTenantNetworks", "os-tenant-networks", "Networks of a project, up to 2.35."),
    ("Quotas", "os-quota-sets", "The limits of a project."),
    ("SecurityGroups", "os-security-groups", "Security groups, up to 2.35."),
    ("ServerUsage", "OS-SRV-USG", "When a server began and ended."),
    ("UsedLimits", "os-used-limits", "What is used of the limits."),
    ("UserData", "os-user-data", "Data for the first boot of a server."),
)

EXTENSIONS = [
    {
        "name": name,
        "alias": alias,
        "description": description,
        "updated": "2014-12-03T00:00:00Z",
        "namespace": "http://docs.openstack.org/compute/ext/fake_xml",
        "links": [],
    }
    for name, alias, description in _KNOWN
]
_BY_ALIAS = {extension["alias"]: extension for extension in EXTENSIONS}


def mount(routes: Routes) -> None:
    """Add the endpoints."""

    async def list_items(call: Call) -> Reply:
        return Reply(200, {"extensions": EXTENSIONS})

    async def show(call: Call, alias: str) -> Reply:
        extension = _BY_ALIAS.get(alias)
        if extension is None:
            raise NotFound(f"Extension {alias} could not be found.", "extension")
        return Reply(200, {"extension": extension})

    routes.add("GET", "/extensions", list_items)
    routes.add("GET", "/extensions/<alias>", show)
