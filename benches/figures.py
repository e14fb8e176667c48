"""Measures what is promised of `instanced`, and prints each figure beside its limit. scripts/bench.sh runs it.

    figures.py --binary target/release/instanced --speed target/release/deps/speed-… --engine /var/run/docker.sock
               --image TAG --manager NAME --traefik .tools/bin/traefik --work DIR

With `--daemon` it measures the daemon alone, as few times as can be, and needs neither of the two programs: that is how
the tests see that it still can.

It starts daemons of its own, on the real engine, in the empty directory DIR, and ends them again, also on
SIGTERM; their containers and their network are whose who called. Exit 1 when a limit is missed.
All times are of one clock, CLOCK_MONOTONIC, read in this one process. Standard library only.
"""

import argparse
import asyncio
import contextlib
import ctypes
import json
import os
import re
import select
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tests" / "limits"))
import edge  # noqa: E402
import engine_proxy  # noqa: E402
import speed  # noqa: E402
from table import Failed, Row, say, table  # noqa: E402

MIB = 1 << 20
# The promises.
START_MS = 100.0
RESIDENT_MIB = 20.0
BINARY_MIB = 20.0
SAVE_MS = 250.0

STARTS = 30  # of each command
SERVE_STARTS = 20
SAVES = 20  # of each kind
INSTANCES = ("one", "two")
IDLE_S = 10
QUIET_S = 0.5  # without an engine call, before each save
CONTROL_S = 5  # without a save: whether anything else makes engine calls
READY_S = 10
FLEET_S = 60
STOP_S = 15
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


@dataclass
class Place:
    """Where all of it happens."""

    binary: Path
    engine: Path
    image: str
    manager: str
    work: Path

    @property
    def config(self) -> Path:
        return self.work / "instanced.yaml"

    def manifest(self, name: str) -> Path:
        return self.work / "instances.d" / f"{name}.yaml"

    def configure(self, engine: Path) -> None:
        """The port is the kernel's choice; a resync falls into no measurement."""
        self.config.write_text(
            f"manager: {self.manager}\n"
            "domain: bench.localhost\n"
            "source: { dir: instances.d }\n"
            f'engine: {{ docker: {{ host: "unix://{engine}" }} }}\n'
            f"network: {{ name: {self.manager}, isolation: strict }}\n"
            'listen: { auth: "127.0.0.1:0", admin: "127.0.0.1:0" }\n'
            "traefik: { auth_url: http://127.0.0.1:9180/auth/mcp-bearer-check }\n"
            "reconcile: { resync: 1h }\n"
            f"state: {self.work / 'state'}\n"
        )

    def text(self, owner: str = "bench") -> str:
        """A manifest. Another owner does nothing to the container, so that a round is over with its last look."""
        return (
            "template: mcp-http\n"
            f"image: {self.image}\n"
            "entrypoint: [/tiny]\n"
            "resources: { memory: 32MiB, cpus: 0.5, pids: 64 }\n"
            f"owner: {owner}\n"
        )

    def run(self, *arguments: str) -> list[str]:
        return [str(self.binary), "--config", str(self.config), *arguments]


def milliseconds(began: int) -> float:
    return (time.monotonic_ns() - began) / 1e6


def spread(samples: list[float], unit: str = "ms") -> str:
    return f"{len(samples)} runs, {min(samples):.1f} to {max(samples):.1f} {unit}"


# ---- the daemon ----


def die_with_parent() -> None:
    """A daemon does not outlive this process, however it ends."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass
class Daemon:
    process: subprocess.Popen[bytes]
    ready_ms: float
    log: Path = field(repr=False)

    def status(self, key: str) -> float:
        """A size in /proc/PID/status, in MiB."""
        found = re.search(rf"^{key}:\s+(\d+) kB$", Path(f"/proc/{self.process.pid}/status").read_text(), re.M)
        if not found:
            raise Failed(f"/proc has no {key} of the daemon")
        return int(found[1]) * 1024 / MIB


@contextlib.contextmanager
def serving(place: Place) -> Iterator[Daemon]:
    """`instanced serve`. The clock runs from before the fork to its line that says `ready`."""
    log = place.work / "daemon.log"
    began = time.monotonic_ns()
    process = subprocess.Popen(
        place.run("--color", "never", "serve"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=place.work,
        preexec_fn=die_with_parent,
    )
    drain: subprocess.Popen[bytes] | None = None
    try:
        ready_ms = await_ready(process, began)
        assert process.stderr
        # Nobody reads the log from here on, so that it costs this process nothing; the pipe must not fill up.
        with log.open("ab") as sink:
            drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=sink, preexec_fn=die_with_parent)
        process.stderr.close()
        yield Daemon(process, ready_ms, log)
        if process.poll() is not None:
            raise Failed(f"the daemon ended by itself ({process.returncode}): {tail(log)}")
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            say(f"the daemon (pid {process.pid}) did not end in {STOP_S} s: killing it")
            process.kill()
            process.wait()
        if drain:
            drain.wait()


def await_ready(process: subprocess.Popen[bytes], began: int) -> float:
    assert process.stderr
    heard = b""
    descriptor = process.stderr.fileno()
    while milliseconds(began) < READY_S * 1000:
        if not select.select([descriptor], [], [], 0.5)[0]:
            continue
        data = os.read(descriptor, 1 << 16)
        now = milliseconds(began)
        heard += data
        # Where nobody looks on, its log is JSON.
        if re.search(rb'"message":"ready: .*\n', heard):
            return now
        if not data:
            break
    raise Failed(f"the daemon did not become ready in {READY_S} s. It said: {heard.decode(errors='replace')}")


def tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-10:])


def running(place: Place) -> int:
    filters = json.dumps({"label": [f"instanced.manager={place.manager}"], "status": ["running"]})
    command = ["curl", "-sSf", "--unix-socket", str(place.engine), "--get", "http://engine/containers/json"]
    answer = subprocess.run([*command, "--data-urlencode", f"filters={filters}"], check=True, capture_output=True)
    return len(json.loads(answer.stdout))


def await_fleet(place: Place, daemon: Daemon) -> None:
    deadline = time.monotonic() + FLEET_S
    while running(place) != len(INSTANCES):
        if time.monotonic() > deadline or daemon.process.poll() is not None:
            raise Failed(f"the instances do not run after {FLEET_S} s: {tail(daemon.log)}")
        time.sleep(0.2)


# ---- the figures ----


def whole_runs(commands: dict[str, list[str]], place: Place) -> dict[str, list[float]]:
    """From before the fork to after the wait, in turns, so that a slow moment of the machine meets all alike."""
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(STARTS + 2):
        for name, command in commands.items():
            began = time.monotonic_ns()
            code = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=place.work,
            ).returncode
            if code != 0:
                raise Failed(f"`{' '.join(command)}` ended with {code}")
            if turn >= 2:  # the first ones fill the page cache
                taken[name].append(milliseconds(began))
    return taken


def starts(place: Place) -> list[Row]:
    say(f"{STARTS} starts each of true, instanced --version and instanced validate")
    commands = {
        "true": ["true"],
        "instanced --version": [str(place.binary), "--version"],
        "instanced validate": place.run("validate"),
    }
    return [
        Row(
            f"start and end: {name}",
            statistics.median(samples),
            "ms",
            None if name == "true" else START_MS,
            name,
            ("the floor; " if name == "true" else "median; ") + spread(samples),
        )
        for name, samples in whole_runs(commands, place).items()
    ]


def serve_starts(place: Place) -> Row:
    say(f"{SERVE_STARTS} starts of instanced serve")
    samples = []
    for _ in range(SERVE_STARTS):
        with serving(place) as daemon:
            samples.append(daemon.ready_ms)
    return Row(
        "start: exec to 'ready'",
        statistics.median(samples),
        "ms",
        START_MS,
        "instanced serve",
        f"median; {spread(samples)}",
    )


def idle(place: Place) -> Row:
    with serving(place) as daemon:
        await_fleet(place, daemon)
        say(f"{len(INSTANCES)} instances run; idling for {IDLE_S} s")
        time.sleep(IDLE_S)
        parts = ", ".join(
            f"{name} {daemon.status(key):.1f}"
            for name, key in (("anonymous", "RssAnon"), ("file", "RssFile"), ("peak", "VmHWM"))
        )
        return Row(
            f"resident, {len(INSTANCES)} instances, {IDLE_S} s idle",
            daemon.status("VmRSS"),
            "MiB",
            RESIDENT_MIB,
            "grep VmRSS /proc/PID/status",
            f"fresh state, real engine; {parts}",
        )


def binary(place: Place) -> Row:
    size = place.binary.stat().st_size / MIB
    return Row("release binary", size, "MiB", BINARY_MIB, "stat -c %s target/release/instanced")


# ---- from a save to an engine call ----


class Calls:
    """What the proxy writes its lines to: each is stamped with the clock that the saves are stamped with."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, str]] = []

    def write(self, line: str) -> int:
        self.seen.append((time.monotonic_ns(), line.split(" ", 1)[1].strip()))
        return len(line)

    def asked(self) -> list[tuple[int, str]]:
        """Without the stream of events: it is opened again now and then, whatever is saved."""
        return [(at, call) for at, call in self.seen if "/events" not in call]

    def round_since(self, since: int) -> int | None:
        """When a round asked for the first time: each begins with the list of what carries our label."""
        begins = (at for at, call in self.asked() if "/containers/json" in call and "label" in call)
        return next((at for at in begins if at >= since), None)

    async def quiet(self) -> None:
        """Until the daemon has asked something, and nothing more for a while."""
        deadline = time.monotonic() + FLEET_S
        while not self.asked() or milliseconds(self.asked()[-1][0]) < QUIET_S * 1000:
            if time.monotonic() > deadline:
                raise Failed(f"the daemon asks the engine always or never: {self.asked()[-1:]}")
            await asyncio.sleep(0.05)


def in_place(path: Path, text: str) -> int:
    """Truncates, writes, closes. The moment before the close."""
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)
    os.write(descriptor, text.encode())
    at = time.monotonic_ns()
    os.close(descriptor)
    return at


def by_rename(path: Path, text: str) -> int:
    """As editors do that write a new file beside it. The moment before the rename."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    at = time.monotonic_ns()
    beside.rename(path)
    return at


async def save(place: Place, calls: Calls, how: Callable[[Path, str], int], owner: str) -> tuple[float, int]:
    """Milliseconds to the round's first call, and how many calls of something else came before it."""
    await calls.quiet()
    begun = time.monotonic_ns()
    at = how(place.manifest(INSTANCES[0]), place.text(owner))
    deadline = time.monotonic() + FLEET_S
    while (asked := calls.round_since(begun)) is None:
        if time.monotonic() > deadline:
            raise Failed(f"a saved manifest made no round: {tail(place.work / 'daemon.log')}")
        await asyncio.sleep(0.01)
    if asked < at:
        raise Failed("a round began before the manifest was closed")
    return (asked - at) / 1e6, sum(begun <= stamp < asked for stamp, _ in calls.asked())


async def saves(place: Place) -> list[Row]:
    socket = place.work / "engine.sock"
    place.configure(socket)
    calls = Calls()
    proxy = await asyncio.start_unix_server(
        lambda reader, writer: engine_proxy.serve_one(reader, writer, str(place.engine), calls),  # type: ignore
        path=socket,
        limit=engine_proxy.LIMIT,
        backlog=1024,
    )
    rows = []
    try:
        with serving(place) as daemon:
            # The daemon became ready while this loop stood still: its first round is answered only now.
            await calls.quiet()
            say(f"{CONTROL_S} s without a save, then {SAVES} saves in place and {SAVES} by rename")
            before = time.monotonic_ns()
            await asyncio.sleep(CONTROL_S)
            stray = [call for at, call in calls.asked() if at >= before]
            if stray:
                say("calls without a save: " + "; ".join(call[:120] for call in stray))
            if calls.round_since(before):
                raise Failed("rounds begin without a save: what comes after one proves nothing")
            for name, how in (("in place", in_place), ("by rename", by_rename)):
                taken = [await save(place, calls, how, f"{how.__name__}-{turn}") for turn in range(SAVES)]
                others = sum(other for _, other in taken)
                rows += save_rows(name, how.__name__, [first for first, _ in taken], others)
            await calls.quiet()
            rows.append(
                Row(
                    f"resident, after {2 * SAVES} rounds more",
                    daemon.status("VmRSS"),
                    "MiB",
                    RESIDENT_MIB,
                    "grep VmRSS /proc/PID/status",
                    f"peak {daemon.status('VmHWM'):.1f}",
                )
            )
    finally:
        proxy.close()
        # A connection that is cut while it ends complains.
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    return rows


def save_rows(name: str, how: str, samples: list[float], others: int) -> list[Row]:
    command, what = f"benches/figures.py: {how}", f"save {name} to first engine call"
    note = spread(samples).replace("runs", "saves") + (f"; {others} calls of no round came between" if others else "")
    return [
        Row(f"{what}, median", statistics.median(samples), "ms", SAVE_MS, command, note),
        Row(f"{what}, max", max(samples), "ms", SAVE_MS, command),
    ]


# ---- what a person sees ----


HOW = f"""\
How: one process forks, waits, saves and stamps, with CLOCK_MONOTONIC. `instanced` is the release binary, with
--config and {len(INSTANCES)} manifests of tests/tiny.
  start and end   from before the fork to after the wait; the commands in turns, after 2 rounds of warming up
  start           from before the fork to the line `ready` on stderr; the instances run, the state is there
  resident        VmRSS of `instanced serve`; idle: no event, no request
  save            from before close(2) or rename(2) to the head of the round's first request at a proxy on the
                  engine's socket, after {QUIET_S} s without a call. Each save changes `owner`; no container changes.
                  In {CONTROL_S} s without a save no round began
{speed.HOW}
{edge.HOW}"""


def daemon(place: Place) -> list[Row]:
    rows = starts(place)
    resident = idle(place)
    return [*rows, serve_starts(place), resident, binary(place)]


def be_quick() -> None:
    global STARTS, SERVE_STARTS, SAVES, IDLE_S, CONTROL_S
    STARTS, SERVE_STARTS, SAVES, IDLE_S, CONTROL_S = 2, 2, 2, 1, 1


def end(*_: Any) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument("--speed", type=lambda text: Path(text).resolve(), help="benches/speed, built")
    parser.add_argument("--engine", type=Path, required=True, help="the engine's socket")
    parser.add_argument("--image", required=True, help="what tests/tiny/build.sh made")
    parser.add_argument("--manager", required=True, help="whose containers; the network's name, too")
    parser.add_argument("--work", type=Path, required=True, help="an empty directory")
    parser.add_argument("--traefik", type=lambda text: Path(text).resolve())
    parser.add_argument("--daemon", action="store_true", help="the daemon alone, a few times")
    arguments = vars(parser.parse_args())
    program, traefik, few = arguments.pop("speed"), arguments.pop("traefik"), arguments.pop("daemon")
    if not few and not (program and traefik):
        parser.error("--speed and --traefik are needed, but with --daemon")
    place = Place(**arguments)
    signal.signal(signal.SIGTERM, end)

    # A build meanwhile changes nothing here.
    place.binary = Path(shutil.copy2(place.binary, place.work / "instanced"))
    (place.work / "instances.d").mkdir()
    for name in INSTANCES:
        place.manifest(name).write_text(place.text())
    place.configure(place.engine)
    parts: list[Callable[[], list[Row]]] = [lambda: daemon(place), lambda: asyncio.run(saves(place))]
    if few:
        be_quick()
    else:
        (place.work / "edge").mkdir()
        gate = edge.Place(program, traefik, place.work / "edge")
        stand = speed.Stand(program, place.binary, place.engine, place.image, place.manager, place.work)
        parts += [*(partial(measure, gate) for measure in edge.WHICH.values()), *speed.parts(stand)]
    rows, failures = [], []
    for part in parts:
        try:
            rows += part()
        except Failed as failure:
            # What was measured before, and what can be measured after, is told all the same.
            say(f"error: {failure}")
            failures.append(failure)
    print(table(rows))
    print(f"\n{HOW}")
    missed = [row.what for row in rows if row.missed]
    promised = sum(row.limit is not None for row in rows)
    print(f"\n{promised - len(missed)} of {promised} figures within their limits")
    for what in missed:
        print(f"MISSED: {what}")
    for failure in failures:
        print(f"NOT MEASURED: {failure}")
    return 2 if failures else 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
