"""The auth listener beside a bare hyper and nginx, and through a real Traefik beside the unguarded route.

figures.py adds these rows to its table; alone, this measures nothing else:

    edge.py --program target/release/deps/speed-… --traefik .tools/bin/traefik --work DIR [direct traefik]

Servers are pinned to one core and wrk to another. Every figure is a median over rounds in which all servers are
asked in turns, so that a slow moment of the machine meets all of them. Standard library only; wrk and nginx from
Debian.
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from table import Failed, Row, say, table

# The promises, as bare hyper's throughput over ours, and our latency over bare hyper's.
THROUGHPUT = 1 / 0.9
TAIL = 1.2
FLAT = 1.1
# Through Traefik: a bare 204's throughput over ours, and the unguarded route's over ours by TLS and HTTP/2.
NO_DIFFERENCE = 1.1
GUARDED_TLS = 1 / 0.48

ROUNDS = 5
SECONDS = 2
CONNECTIONS = (2, 64)
INSTANCES = (1, 1_000, 100_000)
READY_S = 30
DOMAIN = "bench.localhost"
# As Traefik sends it for an MCP client behind it.
HEADERS = {
    "X-Forwarded-Uri": "/mcp",
    "X-Forwarded-Method": "POST",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Port": "443",
    "X-Forwarded-Server": "edge",
    "X-Real-Ip": "203.0.113.7",
    "User-Agent": "mcp-client/1.0 (node 22.1.0; linux)",
    "Accept": "application/json, text/event-stream",
    "Accept-Encoding": "gzip",
    "Mcp-Protocol-Version": "2025-11-25",
    "Traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
}
# 64 requests, spread over all instances, so that no cache holds one answer.
SCRIPT = """\
local requests, turn = {}, 0
function init(_)
  for k = 0, 63 do
    local id = math.floor(k * INSTANCES / 64)
    local headers = { HEADERS }
    headers["X-Forwarded-Host"] = string.format("mcp-i%d.DOMAIN", id)
    headers["Authorization"] = string.format("Bearer mcp_%08d_%s", id, string.rep("LETTER", 49))
    requests[k] = wrk.format("GET", string.format("/auth/mcp-bearer-check/mcp-i%d", id), headers)
  end
end
function request()
  turn = (turn + 1) % 64
  return requests[turn]
end
"""
CLIENT = """\
wrk.headers["Authorization"] = "Bearer mcp_00000000_" .. string.rep("x", 49)
wrk.headers["Host"] = "HOST"
"""


@dataclass
class Place:
    program: Path
    traefik: Path
    work: Path


@dataclass
class Server:
    name: str
    address: str
    samples: dict[int, list[tuple[float, float]]] = field(default_factory=dict)

    def rate(self, connections: int) -> float:
        return statistics.median(rate for rate, _ in self.samples[connections])

    def tail(self, connections: int) -> float:
        return statistics.median(tail for _, tail in self.samples[connections])


def pinned(core: int, command: list[str]) -> list[str]:
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(cores[core % len(cores)]), *command]


@contextlib.contextmanager
def running(command: list[str], **more: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **more)  # type: ignore
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
        process.kill()
        process.wait()


def answers(address: str) -> None:
    host, port = address.rsplit(":", 1)
    deadline = time.monotonic() + READY_S
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise Failed(f"nobody listens on {address}") from error
            time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ours(place: Place, stack: contextlib.ExitStack, which: str, *, core: int = 0, tls: Path | None = None) -> str:
    command = [str(place.program), "serve", which, *([str(tls)] if tls else [])]
    process = stack.enter_context(running(pinned(core, command)))
    assert process.stdout
    address = process.stdout.readline().strip()
    if not address:
        raise Failed(f"`{' '.join(command)}` tells no address")
    return address


def nginx(place: Place, stack: contextlib.ExitStack) -> str:
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    port, work = free_port(), place.work / "nginx"
    work.mkdir()
    (work / "nginx.conf").write_text(
        f"daemon off; master_process off; worker_processes 1; pid {work}/pid; error_log {work}/error;\n"
        "events { worker_connections 1024; }\n"
        "http { access_log off; keepalive_requests 1000000000; server_tokens off;\n"
        + "".join(f"{name}_temp_path {work}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        + f"server {{ listen 127.0.0.1:{port}; location / {{ return 204; }} }} }}\n"
    )
    stack.enter_context(running(pinned(0, [program, "-c", str(work / "nginx.conf"), "-e", str(work / "error")])))
    address = f"127.0.0.1:{port}"
    answers(address)
    return address


def wrk(url: str, connections: int, script: Path, seconds: float = SECONDS, core: int | None = 1) -> tuple[float, float]:
    """Requests a second, and the 99th percentile in milliseconds."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "-s", str(script), url]
    told = subprocess.run(
        command if core is None else pinned(core, command), stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", told)
    tail = re.search(r"99%\s+([\d.]+)(us|ms|s)", told)
    if not rate or not tail or "Socket errors" in told:
        raise Failed(f"wrk says: {told}")
    return float(rate[1]), float(tail[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[tail[2]]


def script(place: Place, instances: int, letter: str = "x") -> Path:
    path = place.work / f"{instances}-{letter}.lua"
    headers = ", ".join(f'["{name}"] = "{value}"' for name, value in HEADERS.items())
    text = SCRIPT.replace("HEADERS", headers).replace("INSTANCES", str(instances))
    path.write_text(text.replace("DOMAIN", DOMAIN).replace("LETTER", letter))
    return path


def direct(place: Place) -> list[Row]:
    say(f"the auth listener beside bare hyper and nginx, {ROUNDS} rounds of {SECONDS} s each")
    with contextlib.ExitStack() as stack:
        asked: list[tuple[Server, Path]] = [
            (Server("bare", ours(place, stack, "bare")), script(place, 1)),
            (Server("nginx", nginx(place, stack)), script(place, 1)),
        ]
        for instances in INSTANCES:
            address = ours(place, stack, str(instances))
            answers(address)
            asked.append((Server(str(instances), address), script(place, instances)))
        # The same server, asked with tokens that nobody has.
        asked.append((Server("wrong", asked[3][0].address), script(place, INSTANCES[1], "y")))
        for connections in CONNECTIONS:
            for server, _ in asked:
                server.samples[connections] = []
            for turn in range(ROUNDS + 1):
                for server, wanted in asked:
                    sample = wrk(f"http://{server.address}", connections, wanted)
                    if turn:  # the first is for warming up
                        server.samples[connections].append(sample)
        servers = {server.name: server for server, _ in asked}
    return [row for connections in CONNECTIONS for row in direct_rows(servers, connections)]


def direct_rows(servers: dict[str, Server], connections: int) -> list[Row]:
    bare = servers["bare"]
    command = f"wrk -t1 -c{connections} -d{SECONDS}s --latency"

    def ratio(what: str, name: str, limit: float | None) -> Row:
        pairs = zip(bare.samples[connections], servers[name].samples[connections], strict=True)
        figure = statistics.median(theirs[0] / mine[0] for theirs, mine in pairs)
        note = f"{bare.rate(connections):,.0f} a second against {servers[name].rate(connections):,.0f}"
        return Row(f"bare hyper against {what}, {connections} connections", figure, "x", limit, command, note)

    rows = [ratio("nginx", "nginx", None)]
    for instances in INSTANCES:
        what = f"ours with {instances:,} instance{'s' if instances > 1 else ''}"
        rows.append(ratio(what, str(instances), THROUGHPUT))
    rows.append(ratio("ours refusing wrong tokens", "wrong", THROUGHPUT))
    most = servers[str(INSTANCES[-1])]
    pairs = zip(most.samples[connections], bare.samples[connections], strict=True)
    rows.append(
        Row(
            f"p99 with {INSTANCES[-1]:,} instances against bare hyper, {connections} connections",
            statistics.median(mine[1] / theirs[1] for mine, theirs in pairs),
            "x",
            TAIL,
            command,
            f"{most.tail(connections):.2f} ms against {bare.tail(connections):.2f} ms",
        )
    )
    pairs = zip(servers[str(INSTANCES[0])].samples[connections], most.samples[connections], strict=True)
    rows.append(
        Row(
            f"1 instance against {INSTANCES[-1]:,}, {connections} connections",
            statistics.median(one[0] / many[0] for one, many in pairs),
            "x",
            FLAT,
            command,
            "flat is 1",
        )
    )
    return rows


def through_traefik(place: Place) -> list[Row]:
    say(f"the same through Traefik, beside an unguarded route, {ROUNDS} rounds of {SECONDS} s each")
    host, tls = f"mcp-i0.{DOMAIN}", place.work / "tls"
    tls.mkdir()
    (place.work / "bare-tls").mkdir()
    with contextlib.ExitStack() as stack:
        upstream = ours(place, stack, "bare")
        guards = {
            "bare": f"http://{ours(place, stack, 'bare')}",
            "ours": f"http://{ours(place, stack, '1000')}",
            "tls": f"https://{ours(place, stack, '1000', tls=tls)}",
        }
        port, entries = free_port(), {name: free_port() for name in ("open", *guards)}
        del port
        dynamic = place.work / "dynamic.yaml"
        dynamic.write_text(dynamic_text(host, upstream, guards, tls))
        static = place.work / "traefik.yaml"
        points = "".join(f"  {name}: {{ address: 127.0.0.1:{at} }}\n" for name, at in entries.items())
        static.write_text(
            "global: { checkNewVersion: false, sendAnonymousUsage: false }\nlog: { level: ERROR }\n"
            f"entryPoints:\n{points}providers: {{ file: {{ filename: {dynamic} }} }}\n"
        )
        stack.enter_context(running([str(place.traefik), f"--configFile={static}"]))
        client = place.work / "client.lua"
        client.write_text(CLIENT.replace("HOST", host))
        servers = {name: Server(name, f"127.0.0.1:{at}") for name, at in entries.items()}
        for server in servers.values():
            answers(server.address)
            passes(server, host)
            server.samples[64] = []
        for turn in range(ROUNDS + 1):
            for server in servers.values():
                sample = wrk(f"http://{server.address}/mcp", 64, client, core=None)
                if turn:
                    server.samples[64].append(sample)

    def ratio(what: str, one: str, other: str, limit: float | None) -> Row:
        pairs = zip(servers[one].samples[64], servers[other].samples[64], strict=True)
        figure = statistics.median(first[0] / second[0] for first, second in pairs)
        note = f"{servers[one].rate(64):,.0f} a second against {servers[other].rate(64):,.0f}"
        return Row(f"through Traefik: {what}, 64 connections", figure, "x", limit, f"wrk -t1 -c64 -d{SECONDS}s", note)

    return [
        ratio("unguarded against a guard that answers 204 at once", "open", "bare", None),
        ratio("that guard against ours", "bare", "ours", NO_DIFFERENCE),
        ratio("unguarded against ours by TLS and HTTP/2", "open", "tls", GUARDED_TLS),
    ]


def passes(server: Server, host: str) -> None:
    """Until Traefik has its routes; and a row must not be a row of refusals."""
    deadline = time.monotonic() + READY_S
    request = (
        f"GET /mcp HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
        f"Authorization: Bearer mcp_00000000_{'x' * 49}\r\n\r\n"
    )
    name, port = server.address.rsplit(":", 1)
    while True:
        with socket.create_connection((name, int(port)), timeout=10) as client:
            client.sendall(request.encode())
            answer = client.recv(4096).decode()
        if answer.startswith("HTTP/1.1 204"):
            return
        if time.monotonic() > deadline:
            raise Failed(f"through Traefik, {server.name}: {answer[:200]!r}")
        time.sleep(0.1)


def dynamic_text(host: str, upstream: str, guards: dict[str, str], tls: Path) -> str:
    routers = f"    open: {{ rule: Host(`{host}`), entryPoints: [open], service: up }}\n"
    middlewares = ""
    for name, base in guards.items():
        routers += (
            f"    {name}: {{ rule: Host(`{host}`), entryPoints: [{name}], service: up, middlewares: [{name}] }}\n"
        )
        middlewares += (
            f"    {name}:\n      forwardAuth:\n        address: {base}/auth/mcp-bearer-check/mcp-i0\n"
            "        authRequestHeaders: [Authorization, Origin, User-Agent]\n"
            "        authResponseHeaders: [X-MCP-Instance-Id, Authorization]\n        maxResponseBodySize: 4096\n"
        )
        if base.startswith("https"):
            middlewares += f"        tls: {{ ca: {tls}/ca.pem }}\n"
    return (
        f"http:\n  routers:\n{routers}  middlewares:\n{middlewares}"
        f'  services:\n    up: {{ loadBalancer: {{ servers: [{{ url: "http://{upstream}" }}] }} }}\n'
    )


HOW = f"""\
The edge: {ROUNDS} rounds of {SECONDS} s, all servers in turns in each, after one that warms up; medians of the rounds' ratios
  direct          the server's one thread on one core, wrk on another; keep-alive, 14 headers as Traefik sends them, 64
                  requests spread over all instances. Bare hyper reads no header and answers 204; so does nginx
  through Traefik one real Traefik on all cores, with the servers; the upstream is a bare hyper that answers 204"""

WHICH = {"direct": direct, "traefik": through_traefik}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--program", "--traefik", "--work"):
        parser.add_argument(name, type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument("which", nargs="*", choices=[*WHICH, []], help="all, when none is named")
    arguments = vars(parser.parse_args())
    which = arguments.pop("which") or list(WHICH)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        rows = [row for name in which for row in WHICH[name](Place(**arguments))]
    except Failed as failure:
        say(f"error: {failure}")
        return 2
    print(table(rows))
    print(f"\n{HOW}")
    return 1 if any(row.missed for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
