"""Bodies made out of the OpenAPI documents: one that is understood, and each way to spoil it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema_rs

from tests.api.generated.two_projects import KEY, TwoProjects

Schema = dict[str, Any]
Place = tuple[str | int, ...]

DEEP: Any = json.loads("[" * 200 + "]" * 200)
#: One of them is wrong wherever something stands.
VALUES: tuple[Any, ...] = (
    None, True, 1.5, [], [None], {}, {"a": {}}, [[1]], -1, "", "x" * 70_000, DEEP, {"id": 1},
    "\u2028", 10**30,
)  # fmt: skip
#: Wrong wherever a text or a number may stand.
TEXTS = ("a\0b", "\ud800", "\udfff\ud800")
NUMBERS = (2**63, -(2**63) - 1, 10**30)


class Bodies:
    """The bodies of a document.

    :param samples: what is understood under the name of a member.
    """

    def __init__(self, document: Schema, samples: dict[str, Any]) -> None:
        self._components = document["components"]
        self._samples = samples

    def forms(self, operation: Schema) -> list[tuple[Schema, str]]:
        """The forms that an operation's body may have: the schema and content type of each."""
        content = operation["requestBody"]["content"]
        kinds = list(content)
        schema = content[kinds[0]]["schema"]
        schemas = list(schema.get("anyOf", [schema]))
        if len(kinds) < len(schemas):
            kinds = kinds[:1] * len(schemas)
        return list(zip(schemas, kinds, strict=False))

    def refused(self, schema: Schema) -> Callable[[Any], bool]:
        """Whether a schema does not take a body."""
        validator = jsonschema_rs.validator_for({**schema, "components": self._components})
        return lambda body: not validator.is_valid(body)

    def right(self, schema: Schema, name: str = "", above: str = "") -> Any:
        """The smallest body that is understood."""
        known = self._samples.get(f"{above}.{name}", self._samples.get(name))
        if known is not None:
            return copy.deepcopy(known)
        schema = self.resolved(schema)
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return self.right(schema[word][0], name, above)
        if "enum" in schema:
            return schema["enum"][0]
        kind = schema.get("type")
        if kind == "object" and not schema.get("properties"):
            more = schema.get("additionalProperties")
            return {"hw:x": self.right(more)} if isinstance(more, dict) else {}
        if kind == "object":
            needed = schema.get("required", ())
            return {
                each: self.right(inner, each, name)
                for each, inner in schema.get("properties", {}).items()
                if each in needed or f"{name}.{each}" in self._samples
            }
        if kind == "array":
            return [self.right(schema["items"], name, above)]
        plain: dict[str | None, Any] = {
            "string": "x", "integer": 1, "number": 1.0, "boolean": True, "null": None,
        }  # fmt: skip
        return plain.get(kind)

    def resolved(self, schema: Schema) -> Schema:
        """A schema with what it refers to in its place."""
        while "$ref" in schema:
            schema = self._components["schemas"][schema["$ref"].rpartition("/")[2]]
        return schema

    def members(self, schema: Schema, place: Place = ()) -> Iterator[tuple[Place, Schema, bool]]:
        """Every member below a schema: its place, its schema, whether it must be there."""
        schema = self.resolved(schema)
        for word in ("anyOf", "oneOf"):
            for each in schema.get(word, ()):
                yield from self.members(each, place)
        if "items" in schema:
            yield from self.members(schema["items"], (*place, 0))
        for name, inner in schema.get("properties", {}).items():
            yield (*place, name), inner, name in schema.get("required", ())
            yield from self.members(inner, (*place, name))

    def closed(self, schema: Schema, place: Place = ()) -> Iterator[Place]:
        """Where no other members may be."""
        found = self.resolved(schema)
        if found.get("additionalProperties") is False:
            yield place
        for inside, inner, _ in self.members(schema, place):
            if self.resolved(inner).get("additionalProperties") is False:
                yield inside

    def spoiled(self, schema: Schema, most: int) -> Iterator[tuple[str, Any]]:
        """What is wrong with a body, and the body.

        :param most: so many values of wrong types for each member.
        """
        refused = self.refused(schema)
        for turn, (place, inner, needed) in enumerate(self.members(schema)):
            at = ".".join(map(str, place))
            if needed and 0 not in place:
                body = self._at(schema, place)
                _parent(body, place).pop(place[-1])
                if refused(body):
                    yield f"without {at}", body
            left = most
            for number in range(len(VALUES)):
                value = VALUES[(turn + number) % len(VALUES)]
                body = self._at(schema, place, value)
                if left and refused(body):
                    left -= 1
                    yield f"{at} = {str(value)[:20]}", body
            kinds = self._kinds(inner)
            for value in (*(TEXTS if "string" in kinds else ()),
                          *(NUMBERS if "integer" in kinds else ())):  # fmt: skip
                yield f"{at} = {str(value)[:20]!r}", self._at(schema, place, value)
        for place in self.closed(schema):
            body = self._at(schema, (*place, "nonsense"), 1)
            if refused(body):
                yield f"more at {place}", body

    def _kinds(self, schema: Schema) -> set[str]:
        schema = self.resolved(schema)
        kinds = schema.get("type", ())
        found = {kinds} if isinstance(kinds, str) else set(kinds)
        for each in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
            found |= self._kinds(each)
        return found

    def _at(self, schema: Schema, place: Place, value: Any = None) -> Any:
        """A body that is understood but for what stands at a place."""
        body = self.right(schema)
        inside = _parent(body, place)
        inside[place[-1]] = copy.deepcopy(value)
        return body


def _parent(body: Any, place: Place) -> Any:
    """What holds a place; it is made where there is none."""
    for number, name in enumerate(place[:-1]):
        fresh: Any = [{}] if isinstance(place[number + 1], int) else {}
        if isinstance(name, int):
            if not isinstance(body[0], dict | list):
                body[0] = fresh
            body = body[0]
        else:
            if not isinstance(body.get(name), type(fresh)) or not body[name]:
                body[name] = fresh
            body = body[name]
    return body


def samples(two: TwoProjects, minor: int) -> dict[str, Any]:
    """What is understood under the names of members, where any text would not be."""
    ids = two.mine.ids
    image = two.cloud.image.uuid
    old: dict[str, Any] = {"server_group.policies": ["affinity"]}
    new: dict[str, Any] = {
        "server_group.policy": "affinity", "flavor.description": "d",
    }  # fmt: skip
    return (new if minor > 64 else old) | {
        "flavorRef": two.cloud.flavor.uuid, "imageRef": image, "server.imageRef": image,
        "server.networks": "none",
        "keypair.public_key": KEY, "network_id": ids["network"], "net_id": ids["network"],
        "networkId": ids["network"], "subnet_id": ids["subnet"],
        "floating_network_id": two.outside.uuid, "security_group_id": ids["security_group"],
        "direction": "ingress", "protocol": "tcp", "address": "192.0.2.7",
        "ip_version": 6, "subnet.cidr": "2001:db8:7::/64", "subnets.cidr": "2001:db8:8::/64",
        "subnets.network_id": ids["empty_network"], ".subnet_id": ids["subnet"],
        "methods": ["password"], "identity.password": {"user": {"id": "0" * 32, "password": "x"}},
        "tenant": ids["project_id"], "path": "/etc/x", "contents": "eA==", "type": "SOFT",
        "keypair.type": "ssh", "state": "active", "prefixes": ["10.99.0.0/16"],
        "quota": {"network": 7}, "metadata": {"a": "b"}, "meta": {"x": "b"}, "tags": ["a"],
        "extra_specs": {"hw:y": "1"}, ".removeTenantAccess": {"tenant": ids["project_id"]},
        "original_password": "not this one", "console.type": "vnc",
        "remote_console.protocol": "vnc", "remote_console.type": "novnc",
        "quota_set.cores": 20, "quota_class_set.cores": 20, "user.password": "secret",
        "adminPass": "secret", "security_group_rule.ethertype": "IPv4",
        ".path": "/x", ".add": "/x", ".value": "x", ".member": two.theirs.ids["project_id"],
        "volume.size": 1, "volume.name": "x", "volume_type.description": "d", "new_size": 9,
        "new_type": ids["type_id"], "transfer.volume_id": ids["volume_id"],
        "auth_key": ids["auth_key"], "bootable": True, "readonly": False,
        "volumeAttachment.volumeId": ids["volume_id"],
    }  # fmt: skip
