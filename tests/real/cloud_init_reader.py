"""What the real cloud-init makes of a seed: ``cloud_init_reader.py FOLDER URL [NETWORK]``.

It runs with the system's Python and cloud-init's packages, and knows nothing of ours. NETWORK is
the text of a network configuration, which older ones do not fetch by themselves.
"""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

from cloudinit import distros, helpers, util
from cloudinit.config.schema import get_schema, validate_cloudconfig_schema
from cloudinit.net import network_state
from cloudinit.sources import DataSourceNoCloud


def read(folder: str, url: str) -> dict[str, Any]:
    """Let the data source read a seed."""
    # No label: no disk of this machine is looked at.
    config = {"datasource": {"NoCloud": {"seedfrom": url, "fs_label": None}}}
    paths = helpers.Paths({"cloud_dir": folder, "run_dir": folder})
    distro = distros.fetch("debian")("debian", {}, paths)
    source = DataSourceNoCloud.DataSourceNoCloudNet(config, distro, paths)
    assert source.get_data(), "cloud-init does not take the seed"
    vendor = util.load_yaml(source.get_vendordata_raw())
    # Raises, and names what is wrong.
    validate_cloudconfig_schema(vendor, schema=get_schema(), strict=True)
    return {
        "instance_id": source.get_instance_id(),
        "hostname": str(getattr(source.get_hostname(), "hostname", source.get_hostname())),
        "keys": source.get_public_ssh_keys(),
        "user_data": base64.b64encode(source.get_userdata_raw() or b"").decode(),
        "vendor": vendor,
    }


def network(text: str) -> list[dict[str, Any]]:
    """Its interfaces as cloud-init understands them."""
    state = network_state.parse_net_config_data(util.load_yaml(text))
    return [
        {
            "name": each["name"],
            "mac": each["mac_address"],
            "subnets": [
                {key: value for key, value in subnet.items() if key in ("type", "address")}
                for subnet in each["subnets"]
            ],
            "routes": [
                [route["network"], route["prefix"], route["gateway"]]
                for subnet in each["subnets"]
                for route in subnet.get("routes", ())
            ],
        }
        for each in state.iter_interfaces()
    ]


if __name__ == "__main__":
    found = read(sys.argv[1], sys.argv[2])
    if len(sys.argv) > 3:
        found["network"] = network(sys.argv[3])
    json.dump(found, sys.stdout)
