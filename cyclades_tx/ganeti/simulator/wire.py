"""RAPI's wire, in front of a simulated cluster: paths, statuses, error objects, users."""

from __future__ import annotations

import hmac
import html
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import orjson
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from cyclades_tx.ganeti.simulator import bodies, queries
from cyclades_tx.ganeti.simulator.behaviors import Misbehavior
from cyclades_tx.ganeti.simulator.bodies import RapiFault
from cyclades_tx.ganeti.simulator.calls import (
    Call,
    basic,
    hang_up,
    must_be_ascii,
    names_in,
    read_body,
)
from cyclades_tx.ganeti.simulator.opcodes import Op

if TYPE_CHECKING:
    from cyclades_tx.ganeti.simulator.memory import MemoryGaneti

_EXPLAIN = {
    400: ("Bad Request", "Bad request syntax or unsupported method"),
    401: ("Unauthorized", "No permission -- see authorization schemes"),
    403: ("Forbidden", "Request forbidden -- authorization will not help"),
    404: ("Not Found", "Nothing matches the given URI"),
    415: ("Unsupported Media Type", "Entity body in unsupported format"),
    500: ("Internal Server Error", "Server got itself in trouble"),
    501: ("Not Implemented", "Server does not support this operation"),
    502: ("Bad Gateway", "Invalid responses from another server/proxy"),
    503: ("Service Unavailable", "The server cannot process the request due to a high load"),
    504: ("Gateway Timeout", "The gateway server did not receive a timely response"),
}
#: How the queue calls the misbehavior of a job.
_FAULTS = {
    Misbehavior.FAIL_JOB: "job",
    Misbehavior.FAIL_OS: "os",
    Misbehavior.FAIL_HOTPLUG: "hotplug",
}

Handler = Callable[..., Any]


def rapi_resource(cluster: MemoryGaneti) -> IResource:
    """Return the web resource of a cluster."""
    return Rapi(cluster).app.resource()


def _route(
    app: Klein, path: str, method: str, writes: bool = False
) -> Callable[[Handler], Handler]:
    """Make a method of :class:`Rapi` the answer to one path and method."""

    def decorate(handler: Handler) -> Handler:
        @app.route(path, methods=[method], endpoint=handler.__name__)
        async def answer(self: Rapi, request: IRequest, **parts: str) -> bytes:
            return await self.answer(request, writes, handler, parts)

        return handler

    return decorate


class Rapi:
    """The RAPI of one simulated cluster."""

    app = Klein()

    def __init__(self, cluster: MemoryGaneti) -> None:
        self._cluster = cluster

    # What every request goes through

    async def answer(
        self, request: IRequest, writes: bool, handler: Handler, parts: dict[str, str]
    ) -> bytes:
        """Check the user, read the body, carry out and reply, with what is to go wrong."""
        cluster = self._cluster
        try:
            may_write = self._user(request)
            if writes and not may_write:
                raise RapiFault(403, "")
            call = Call(request, read_body(request))
            names = tuple(str(name) for name in (*parts.values(), *names_in(call.body)))
            method = request.method.decode("ascii")
            path = request.path.decode("latin-1")
            call.taken = cluster.behaviors.take(method, names, writes, path)
            await self._before(call)
            value = handler(self, call, **parts)
            cluster.flush()
            await self._after(call)
        except RapiFault as fault:
            return self._fault(request, fault.status, fault.message)
        except queries.QueryRefused as refused:
            return self._fault(request, refused.status, refused.message)
        if garbage := call.taken.get(Misbehavior.GARBAGE):
            return self._send(request, 200, garbage.message.encode())
        return self._reply(request, 200, value)

    async def _before(self, call: Call) -> None:
        taken = call.taken
        if Misbehavior.GO_AWAY in taken:
            await hang_up(call.request)
        if late := taken.get(Misbehavior.GATEWAY_TIMEOUT):
            await self._sleep(late.seconds)
            raise RapiFault(504, "")
        if refuse := taken.get(Misbehavior.REFUSE):
            raise RapiFault(refuse.status, refuse.message)

    async def _after(self, call: Call) -> None:
        taken = call.taken
        if slow := taken.get(Misbehavior.SLOW):
            await self._sleep(slow.seconds)
        if Misbehavior.DROP_REPLY in taken:
            await hang_up(call.request)
        if Misbehavior.GATEWAY_TIMEOUT_AFTER in taken:
            raise RapiFault(504, "")

    def _sleep(self, seconds: float) -> Awaitable[None]:
        def give_up(_: Deferred[None]) -> None:
            if pending.active():
                pending.cancel()

        done: Deferred[None] = Deferred(give_up)
        pending = self._cluster.clock.callLater(seconds, done.callback, None)
        return done

    def _user(self, request: IRequest) -> bool:
        """Return whether the user may write; refuse an unknown one."""
        name, password = basic(request)
        known, may_write = self._cluster.users.get(name, ("", False))
        same = hmac.compare_digest(known.encode(), password.encode())
        if not (same and name in self._cluster.users):
            request.setHeader(b"www-authenticate", b'Basic realm="Ganeti Remote API"')
            raise RapiFault(401, "")
        return may_write

    def _fault(self, request: IRequest, status: int, message: str) -> bytes:
        title, explain = _EXPLAIN.get(status, ("Error", ""))
        text = html.escape(message or title)
        return self._reply(request, status, {"code": status, "message": text, "explain": explain})

    def _reply(self, request: IRequest, status: int, value: Any) -> bytes:
        return self._send(request, status, orjson.dumps(value) + b"\n")

    def _send(self, request: IRequest, status: int, text: bytes) -> bytes:
        request.setResponseCode(status)
        request.setHeader(b"content-type", b"application/json")
        request.setHeader(b"content-length", str(len(text)).encode())
        request.setHeader(b"server", b"Ganeti 3.0.2")
        if not self._cluster.keep_alive:
            request.setHeader(b"connection", b"close")
        return text

    @app.handle_errors(HTTPException)
    def _no_route(self, request: IRequest, failure: Any) -> bytes:
        try:
            self._user(request)
        except RapiFault as fault:
            return self._fault(request, fault.status, "")
        if failure.check(MethodNotAllowed):
            method = request.method.decode("ascii", "replace")
            path = request.path.decode("ascii", "replace")
            return self._fault(request, 501, f"Method {method} is unsupported for path {path}")
        return self._fault(request, 404, "")

    def submit(self, call: Call, ops: list[Op], query_dry_run: bool = True) -> int:
        """Hand opcodes to the queue; return the job's id."""
        cluster = self._cluster
        if cluster.queue.drained:
            raise RapiFault(500, "Queue drained")
        try:
            must_be_ascii(ops)
            must_be_ascii(call.words("reason"))
        except UnicodeEncodeError:
            raise RapiFault(
                500, "Failed to write job: commitBuffer: invalid argument (invalid character)"
            ) from None
        now = int(cluster.clock.seconds() * 1_000_000_000)
        trail = [["gnt:user", text, now] for text in call.words("reason")[-1:]]
        trail.append(["gnt:library:rlib2", "", now])
        for op in ops:
            op["reason"] = list(trail)
            if query_dry_run and call.flag("dry-run"):
                op["dry_run"] = True
        failing = next((call.taken[kind] for kind in _FAULTS if kind in call.taken), None)
        if failing is None:
            return cluster.queue.submit(ops)
        return cluster.queue.submit(ops, _FAULTS[failing.kind], failing.message)

    # The cluster

    @_route(app, "/version", "GET")
    def version(self, call: Call) -> Any:
        return 2

    @_route(app, "/2/features", "GET")
    def features(self, call: Call) -> Any:
        return ["instance-create-reqv1", "instance-reinstall-reqv1", "node-migrate-reqv1"]

    @_route(app, "/2/info", "GET")
    def info(self, call: Call) -> Any:
        return self._cluster.info()

    @_route(app, "/2/modify", "PUT", writes=True)
    def modify_cluster(self, call: Call) -> Any:
        return self.submit(call, [bodies.simple("OP_CLUSTER_SET_PARAMS", "comment", "", call.body)])

    @_route(app, "/2/nodes", "GET")
    def nodes(self, call: Call) -> Any:
        nodes = self._cluster.inventory.nodes.values()
        if not call.flag("bulk"):
            return [{"id": node.name, "uri": f"/2/nodes/{node.name}"} for node in nodes]
        return _objects(nodes, self._cluster.node_getters())

    @_route(app, "/2/groups", "GET")
    def groups(self, call: Call) -> Any:
        return [{"name": name, "uri": f"/2/groups/{name}"} for name in self._cluster.groups]

    @_route(app, "/2/query/<kind>", "PUT")
    def query(self, call: Call, kind: str) -> Any:
        if "fields" not in call.body:
            raise RapiFault(400, "Missing 'fields' query argument")
        qfilter = call.body.get("qfilter", call.body.get("filter"))
        return self._query(kind, call.body["fields"], qfilter)

    @_route(app, "/2/query/<kind>", "GET")
    def query_by_get(self, call: Call, kind: str) -> Any:
        return self._query(kind, ",".join(call.words("fields")).split(","), None)

    def _query(self, kind: str, fields: Any, qfilter: Any) -> Any:
        cluster = self._cluster
        if kind == "job":
            return self._query_jobs(fields, qfilter)
        if kind == "network":
            networks = list(cluster.networks.values())
            return queries.run(networks, cluster.network_getters(), fields, qfilter)
        if kind == "node":
            nodes = list(cluster.inventory.nodes.values())
            return queries.run(nodes, cluster.node_getters(), fields, qfilter)
        if kind != "instance":
            raise RapiFault(502, f"Failed to parse request: Can't parse value '{kind}'")
        names = queries.plain_values(qfilter, "name")
        for name in names or ():
            if not isinstance(name, str) or name not in cluster.instances:
                raise RapiFault(500, f"('Instance name {name} not found', 'unknown_entity')")
        instances = list(cluster.instances.values())
        return queries.run(instances, cluster.instance_getters(), fields, qfilter)

    def _query_jobs(self, fields: Any, qfilter: Any) -> Any:
        queue = self._cluster.queue
        numbers = queries.plain_values(qfilter, "id")
        if numbers is None:
            texts = queries.summaries(qfilter)
            jobs = list(self._cluster.jobs.values()) if texts is None else queue.with_summary(texts)
            return queries.run(jobs, queries.JOB, fields, qfilter if texts is None else None)
        if not all(isinstance(number, int) for number in numbers):
            raise RapiFault(500, f"parsing job id: cannot parse {numbers}")
        reply = queries.run([], queries.JOB, fields, None)
        for number in dict.fromkeys(numbers):
            job = queue.job(number)
            if job is not None:
                reply["data"] += queries.run([job], queries.JOB, fields, None)["data"]
            else:
                nulls = queries.unknown_job(number, fields)
                row = [[0 if field == "id" else 3, nulls[field]] for field in fields]
                reply["data"].append(row)
        return reply

    # Instances

    @_route(app, "/2/instances", "GET")
    def instances(self, call: Call) -> Any:
        instances = list(self._cluster.instances.values())
        if not call.flag("bulk"):
            return [{"id": i.name, "uri": f"/2/instances/{i.name}"} for i in instances]
        return _objects(instances, self._cluster.instance_getters())

    @_route(app, "/2/instances/<name>", "GET")
    def instance(self, call: Call, name: str) -> Any:
        found = self._cluster.instances.get(name)
        if found is None:
            raise RapiFault(404, "")
        return _objects([found], self._cluster.instance_getters())[0]

    @_route(app, "/2/instances", "POST", writes=True)
    def create_instance(self, call: Call) -> Any:
        return self.submit(call, [bodies.create(call.body)])

    @_route(app, "/2/instances/<name>", "DELETE", writes=True)
    def remove_instance(self, call: Call, name: str) -> Any:
        return self._on_instance(call, "OP_INSTANCE_REMOVE", name, shutdown_timeout=int)

    @_route(app, "/2/instances/<name>/startup", "PUT", writes=True)
    def start_instance(self, call: Call, name: str) -> Any:
        return self._on_instance(call, "OP_INSTANCE_STARTUP", name)

    @_route(app, "/2/instances/<name>/shutdown", "PUT", writes=True)
    def stop_instance(self, call: Call, name: str) -> Any:
        return self._on_instance(call, "OP_INSTANCE_SHUTDOWN", name, timeout=int)

    @_route(app, "/2/instances/<name>/reboot", "POST", writes=True)
    def reboot_instance(self, call: Call, name: str) -> Any:
        if (call.words("type") or ["hard"])[0] not in ("hard", "soft", "full"):
            raise RapiFault(
                400,
                "Invalid body parameters: (\"Parameter 'OP_INSTANCE_REBOOT.reboot_type' fails "
                "validation\", 'wrong_input')",
            )
        return self._on_instance(call, "OP_INSTANCE_REBOOT", name, shutdown_timeout=int)

    @_route(app, "/2/instances/<name>/modify", "PUT", writes=True)
    def modify_instance(self, call: Call, name: str) -> Any:
        # A dry-run in the query has no effect here; only one in the body has.
        return self.submit(call, [bodies.modify(name, call.body)], query_dry_run=False)

    @_route(app, "/2/instances/<name>/reinstall", "POST", writes=True)
    def reinstall_instance(self, call: Call, name: str) -> Any:
        body = call.body
        if call.request.args:
            if body:
                raise RapiFault(400, "Can't combine query and body parameters")
            system, stopped = call.words("os"), call.flag("nostartup")
            body = {"os": system[0] if system else None, "start": not stopped}
        return self.submit(call, bodies.reinstall(name, body))

    @_route(app, "/2/instances/<name>/disk/<index>/grow", "POST", writes=True)
    def grow_disk(self, call: Call, name: str, index: str) -> Any:
        return self.submit(call, [bodies.grow(name, index, call.body)])

    @_route(app, "/2/instances/<name>/tags", "GET")
    def tags(self, call: Call, name: str) -> Any:
        found = self._cluster.instances.get(name)
        if found is None:
            raise RapiFault(500, f"('Instance name {name} not found', 'unknown_entity')")
        return list(found.tags)

    @_route(app, "/2/instances/<name>/tags", "PUT", writes=True)
    def add_tags(self, call: Call, name: str) -> Any:
        return self._tag_job(call, "OP_TAGS_SET", name)

    @_route(app, "/2/instances/<name>/tags", "DELETE", writes=True)
    def remove_tags(self, call: Call, name: str) -> Any:
        return self._tag_job(call, "OP_TAGS_DEL", name)

    def _on_instance(self, call: Call, op_id: str, name: str, **known: type) -> int:
        return self.submit(call, [bodies.simple(op_id, "instance_name", name, call.body, **known)])

    def _tag_job(self, call: Call, op_id: str, name: str) -> int:
        op: Op = {"OP_ID": op_id, "kind": "instance", "name": name, "tags": call.words("tag")}
        return self.submit(call, [op])

    # Networks

    @_route(app, "/2/networks", "GET")
    def networks(self, call: Call) -> Any:
        networks = list(self._cluster.networks.values())
        if not call.flag("bulk"):
            return [{"name": n.name, "uri": f"/2/networks/{n.name}"} for n in networks]
        return _objects(networks, self._cluster.network_getters())

    @_route(app, "/2/networks/<name>", "GET")
    def network(self, call: Call, name: str) -> Any:
        found = self._cluster.networks.get(name)
        if found is None:
            raise RapiFault(404, "")
        return _objects([found], self._cluster.network_getters())[0]

    @_route(app, "/2/networks", "POST", writes=True)
    def create_network(self, call: Call) -> Any:
        return self.submit(call, [bodies.network_add(call.body)])

    @_route(app, "/2/networks/<name>/connect", "PUT", writes=True)
    def connect_network(self, call: Call, name: str) -> Any:
        return self.submit(call, [bodies.network_connect(name, call.body)])

    @_route(app, "/2/networks/<name>/disconnect", "PUT", writes=True)
    def disconnect_network(self, call: Call, name: str) -> Any:
        return self.submit(call, [bodies.network_disconnect(name, call.body)])

    @_route(app, "/2/networks/<name>", "DELETE", writes=True)
    def remove_network(self, call: Call, name: str) -> Any:
        op = bodies.simple("OP_NETWORK_REMOVE", "network_name", name, call.body)
        return self.submit(call, [op])

    # Jobs

    @_route(app, "/2/jobs", "GET")
    def jobs(self, call: Call) -> Any:
        jobs = list(self._cluster.jobs.values())
        if not call.flag("bulk"):
            return [{"id": job.id, "uri": f"/2/jobs/{job.id}"} for job in jobs]
        return _objects(jobs, {field: queries.JOB[field] for field in queries.JOB_BULK})

    @_route(app, "/2/jobs/<number>", "GET")
    def job(self, call: Call, number: str) -> Any:
        found = self._cluster.queue.job(_job_number(number))
        if found is None:  # not a 404
            return queries.unknown_job(_job_number(number), queries.JOB)
        return _objects([found], queries.JOB)[0]

    @_route(app, "/2/jobs/<number>", "DELETE", writes=True)
    def cancel_job(self, call: Call, number: str) -> Any:
        return list(self._cluster.queue.cancel(_job_number(number)))

    # Misbehavior

    @app.route("/simulator/behaviors", methods=["GET", "POST", "DELETE"])
    def behaviors(self, request: IRequest) -> bytes:
        """List, add (``{"kind": "slow", "seconds": 3}``) or clear what goes wrong."""
        given = request.getHeader(b"authorization") or b""
        wanted = f"Bearer {self._cluster.behavior_token}".encode()
        if not hmac.compare_digest(given, wanted):
            return self._fault(request, 401, "The simulator's own token is needed")
        behaviors = self._cluster.behaviors
        if request.method == b"DELETE":
            return self._reply(request, 200, {"cleared": behaviors.clear()})
        if request.method == b"POST":
            try:
                added = behaviors.add(**read_body(request))
            except (TypeError, ValueError) as wrong:
                return self._fault(request, 400, str(wrong))
            except RapiFault as fault:
                return self._fault(request, fault.status, fault.message)
            return self._reply(request, 200, asdict(added))
        return self._reply(request, 200, [asdict(behavior) for behavior in behaviors.all()])


def _objects(things: Any, getters: dict[str, queries.Getter]) -> list[dict[str, Any]]:
    return [{field: get(thing) for field, get in getters.items()} for thing in things]


def _job_number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 18):
        raise RapiFault(404, "")
    return int(text)
