"""Speed: rounds, creations and plans from within (benches/speed), and the same fleet under docker-compose.

figures.py adds these rows to its table; alone, this measures nothing else:

    speed.py --program target/release/deps/speed-… --binary target/release/instanced --engine /var/run/docker.sock
             --image TAG --manager NAME --work DIR [plan manifests rounds creates peer]

What it makes on the engine has a name that begins with NAME or `instanced-NAME-`; it removes that again, and who
called does, should this be killed. Standard library only.
"""

import argparse
import http.client
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from table import Failed, Row, say, table

# The promises.
UP_TIMES = 3.0
ABOVE_BARE = 1.15
IDLE_TIMES = 20.0

INSTANCES = 20
UPS = 4
IDLES = 6  # after each
REMOVALS = 4  # at a time
BARE = 8  # at a time, the fastest that benches/speed finds


@dataclass
class Stand:
    """What all of it is measured with."""

    program: Path
    binary: Path
    engine: Path
    image: str
    manager: str
    work: Path


# ---- the engine, as far as a bench needs it ----


class EngineConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("engine", timeout=120)
        self.path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self.path)


def ask(engine: Path, method: str, path: str, content: Any = None, **query: Any) -> Any:
    connection = EngineConnection(engine)
    sent = {} if content is None else {"body": json.dumps(content), "headers": {"Content-Type": "application/json"}}
    try:
        connection.request(method, f"{path}?{urllib.parse.urlencode(query)}" if query else path, **sent)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status >= 400 and not (method == "DELETE" and answer.status in (404, 409)):
        raise Failed(f"{method} {path}: {answer.status} {body.decode(errors='replace')[:200]}")
    return json.loads(body) if body else None


def made(stand: Stand) -> list[str]:
    """Ids of the containers that a bench of this name made."""
    ours = re.compile(rf"/(instanced-)?{re.escape(stand.manager)}-")
    listed = ask(stand.engine, "GET", "/containers/json", all=1)
    return [found["Id"] for found in listed if any(ours.match(name) for name in found["Names"])]


def remove_made(stand: Stand) -> None:
    def remove(identity: str) -> None:
        ask(stand.engine, "DELETE", f"/containers/{identity}", force=1, v=1)

    with ThreadPoolExecutor(REMOVALS) as pool:
        list(pool.map(remove, made(stand)))


# ---- from within ----


def from_within(stand: Stand, which: str) -> list[Row]:
    arguments = []
    if which != "plan":
        work = stand.work / which
        work.mkdir()
        engine = [str(stand.engine), stand.image, f"{stand.manager}-{which}", stand.manager]
        arguments = [*([] if which == "manifests" else engine), str(work)]
    try:
        done = subprocess.run([stand.program, which, *arguments], stdout=subprocess.PIPE, check=False)
    finally:
        remove_made(stand)
    if done.returncode != 0:
        raise Failed(f"`{stand.program.name} {which}` ended with {done.returncode}")
    return [Row(**json.loads(line)) for line in done.stdout.splitlines()]


# ---- beside docker-compose ----


class Peer:
    """One fleet for both: our manifests, and the compose file that makes containers of the same settings."""

    def __init__(self, stand: Stand) -> None:
        self.stand = stand
        self.work = stand.work / "peer"
        self.project = f"{stand.manager}-peer"
        self.file = self.work / "docker-compose.json"
        (self.work / "instances.d").mkdir(parents=True)
        for number in range(INSTANCES):
            (self.work / "instances.d" / f"i{number:02}.yaml").write_text(
                f"template: mcp-http\nimage: {stand.image}\nentrypoint: [/tiny]\nowner: bench\n"
                "resources: { memory: 32MiB, cpus: 0.5, pids: 64 }\n"
            )
        self.bodies: dict[str, dict[str, Any]] = {}
        self.compose = shutil.which("docker-compose")
        if not self.compose:
            raise Failed("no docker-compose here: apt-get install docker-compose")

    def ours(self, state: str) -> list[str]:
        config = self.work / f"{state}.yaml"
        config.write_text(
            f"manager: {self.project}\n"
            "source: { dir: instances.d }\n"
            f'engine: {{ docker: {{ host: "unix://{self.stand.engine}" }} }}\n'
            f"network: {{ name: {self.stand.manager}, isolation: strict }}\n"
            f"state: {self.work / state}\n"
        )
        return [str(self.stand.binary), "--config", str(config), "reconcile"]

    def theirs(self) -> list[str]:
        assert self.compose
        return [self.compose, "--project-name", f"{self.project}-compose", "--file", str(self.file), "up", "-d"]

    def time(self, command: list[str]) -> float:
        """Seconds, from before the fork to after the wait."""
        environment = {**os.environ, "DOCKER_HOST": f"unix://{self.stand.engine}"}
        with (self.work / "output").open("wb") as output:
            began = time.monotonic()
            code = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, cwd=self.work
            ).returncode
            took = time.monotonic() - began
        if code != 0:
            tail = (self.work / "output").read_text(errors="replace")[-600:]
            raise Failed(f"`{' '.join(command)}` ended with {code}: {tail}")
        return took

    def bare(self) -> float:
        """Seconds that the engine needs at its best for the same containers: created and started, and no more."""

        def make(name: str, body: dict[str, Any]) -> None:
            created = ask(self.stand.engine, "POST", "/containers/create", body, name=name)
            ask(self.stand.engine, "POST", f"/containers/{created['Id']}/start")

        with ThreadPoolExecutor(BARE) as pool:
            began = time.monotonic()
            list(pool.map(make, *zip(*self.bodies.items(), strict=True)))
            return time.monotonic() - began

    def running(self) -> list[dict[str, Any]]:
        listed = ask(self.stand.engine, "GET", "/containers/json")
        ids = set(made(self.stand))
        return [found for found in listed if found["Id"] in ids]

    def expect(self, instances: int) -> None:
        if (running := len(self.running())) != instances:
            raise Failed(f"{running} containers run where {instances} should")

    def learn(self) -> None:
        """From what ours made: the compose file, and what the engine is asked for. A `$` would be compose's own."""
        services = {}
        for found in self.running():
            inspected = ask(self.stand.engine, "GET", f"/containers/{found['Id']}/json")
            host = inspected["Config"]["Hostname"]
            services[host] = service(inspected)
            body = {**inspected["Config"], "Labels": services[host]["labels"], "HostConfig": inspected["HostConfig"]}
            self.bodies[f"{self.project}-bare-{host}"] = body
        networks = {"default": {"external": True, "name": self.stand.manager}}
        # Compose wants a name that it knows; every other key is the same in both forms of YAML.
        text = json.dumps({"version": "2.4", "services": services, "networks": networks}, indent=1)
        self.file.write_text(text.replace("$", "$$"))


def service(inspected: dict[str, Any]) -> dict[str, Any]:
    config, host = inspected["Config"], inspected["HostConfig"]
    manager = "instanced.manager"
    return {
        "image": config["Image"],
        "entrypoint": config["Entrypoint"],
        **({"command": config["Cmd"]} if config["Cmd"] else {}),
        "environment": config["Env"],
        # Not ours by label, or the one would remove what the other made.
        "labels": {("peer" if key == manager else key): value for key, value in config["Labels"].items()},
        "hostname": config["Hostname"],
        "user": config["User"],
        "mem_limit": host["Memory"],
        "memswap_limit": host["MemorySwap"],
        "cpus": host["NanoCpus"] / 1e9,
        "pids_limit": host["PidsLimit"],
        "shm_size": host["ShmSize"],
        "restart": host["RestartPolicy"]["Name"],
        "cap_drop": host["CapDrop"],
        "security_opt": host["SecurityOpt"],
        "read_only": host["ReadonlyRootfs"],
        "ipc": host["IpcMode"],
        "tmpfs": [f"{path}:{options}" for path, options in (host.get("Tmpfs") or {}).items()],
        "init": False,
        "stop_grace_period": f"{config['StopTimeout']}s",
        "logging": {"driver": host["LogConfig"]["Type"], "options": host["LogConfig"]["Config"]},
    }


def beside_peer(stand: Stand) -> list[Row]:
    peer = Peer(stand)
    say(f"the same {INSTANCES} instances by instanced and by docker-compose, {UPS} times")
    ups: list[tuple[float, float]] = []
    idles: list[tuple[float, float]] = []
    bares: list[float] = []
    try:
        peer.time(peer.ours("warm"))
        peer.expect(INSTANCES)
        peer.learn()
        remove_made(stand)
        for turn in range(UPS):
            ours, theirs = peer.ours(f"state-{turn}"), peer.theirs()
            ups.append(both(peer, turn, ours, theirs))
            peer.expect(2 * INSTANCES)
            before = {found["Id"] for found in peer.running()}
            for idle in range(IDLES):
                idles.append(both(peer, turn + idle, ours, theirs))
            if {found["Id"] for found in peer.running()} != before:
                raise Failed("one of the two did not take the fleet for what it shall be")
            remove_made(stand)
            bares.append(peer.bare())
            peer.expect(INSTANCES)
            remove_made(stand)
    finally:
        remove_made(stand)
    command = "benches/speed.py: reconcile, docker-compose up -d"
    # Nobody brings a fleet up faster than the engine does: beyond that, no factor can be asked for.
    bare = statistics.median(bares)
    possible = statistics.median(theirs for _, theirs in ups) / bare
    limit = round(min(UP_TIMES, possible / ABOVE_BARE), 2)
    up = times(f"{INSTANCES} instances up, docker-compose against ours", ups, limit, command)
    up.note += f"; the engine alone {bare * 1000:.0f} ms, so that no one can be more than {possible:.2f} times as fast"
    return [
        up,
        times(f"{INSTANCES} instances, nothing to do, docker-compose against ours", idles, IDLE_TIMES, command),
    ]


def both(peer: Peer, turn: int, ours: list[str], theirs: list[str]) -> tuple[float, float]:
    """Now the one first, now the other."""
    if turn % 2:
        other = peer.time(theirs)
        return peer.time(ours), other
    return peer.time(ours), peer.time(theirs)


def times(what: str, pairs: list[tuple[float, float]], limit: float, command: str) -> Row:
    ratios = [theirs / ours for ours, theirs in pairs]
    ours, theirs = (statistics.median(side) * 1000 for side in zip(*pairs, strict=True))
    note = (
        f"median of {len(pairs)} pairs, {min(ratios):.1f} to {max(ratios):.1f}; "
        f"median {ours:.0f} ms against {theirs:.0f} ms"
    )
    return Row(what, statistics.median(ratios), "x", limit, command, note, least=True)


# ---- all of it ----

HOW = f"""\
Speed: the figure is the median of the ratios of pairs, the one taken right after the other, in turns
  round           files read and resolved, observed, planned, performed. A first round knows nothing yet and makes
                  its connections; a later one hears the engine's events. The bare client is bollard without us:
                  for a first round one list and 16 inspects at a time, for a later one one list
  fresh instances a round with an empty state directory, against the same containers by the bare client at the
                  parallelism that is fastest here; the network is there
  manifests       what `instanced validate` does, in one process: a directory read, every file parsed, resolved and
                  checked against policy and against each other
  plan            by `plan` alone, in memory; the instances run and have a history of two acts each
  docker-compose  whole processes on the same machine in turns; the compose file says what inspect said of ours.
                  Each `instanced reconcile` that brings up has an empty state directory. The engine alone: 8 clients that
                  create and start the same containers. Three times as fast as docker-compose is asked for, or, where
                  the engine allows nobody that, {ABOVE_BARE} of the engine's own time at most"""

WHICH = ("plan", "manifests", "rounds", "creates", "peer")


def parts(stand: Stand, which: tuple[str, ...] = WHICH) -> list[Callable[[], list[Row]]]:
    """Each measures some rows, when it is called."""

    def part(name: str) -> list[Row]:
        remove_made(stand)  # what was measured before
        return beside_peer(stand) if name == "peer" else from_within(stand, name)

    return [partial(part, name) for name in which]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument("--binary", type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument("--engine", type=Path, required=True, help="the engine's socket")
    parser.add_argument("--image", required=True, help="what tests/tiny/build.sh made")
    parser.add_argument("--manager", required=True, help="what names begin with; the network's name, too")
    parser.add_argument("--work", type=lambda text: Path(text).resolve(), required=True, help="an empty directory")
    parser.add_argument("which", nargs="*", choices=[*WHICH, []], help="all, when none is named")
    arguments = vars(parser.parse_args())
    which = tuple(arguments.pop("which")) or WHICH
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        rows = [row for part in parts(Stand(**arguments), which) for row in part()]
    except Failed as failure:
        say(f"error: {failure}")
        return 2
    print(table(rows))
    return 1 if any(row.missed for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
