"""Stands between a daemon and its container engine, and writes down what is asked.

    engine_proxy.py --listen /tmp/proxy.sock --engine /var/run/docker.sock --log calls.log

One line a request: seconds since the epoch, method, path. What is answered passes unread. Kill it and the
engine is away, as after a crash: the socket stays and refuses. Start it again and the engine is back.
With `--allow METHOD=REGEX` it lets through what matches whole, query aside, and answers 403 to all else, which is noted
with `refused` behind it: a filtering proxy. It prints `ready` once it listens, and ends by itself on SIGTERM. Standard library only.
"""

import argparse
import asyncio
import contextlib
import re
import signal
import time
from pathlib import Path
from typing import TextIO

LIMIT = 1 << 20  # of one head, or one line of a chunked body


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Whatever comes, until it ends."""
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()


async def copy_exactly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int) -> None:
    while count > 0:
        data = await reader.readexactly(min(count, 1 << 16))
        writer.write(data)
        await writer.drain()
        count -= len(data)


async def copy_chunked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        line = await reader.readuntil(b"\n")
        writer.write(line)
        size = int(line.split(b";")[0], 16)
        if size == 0:
            break
        await copy_exactly(reader, writer, size + 2)
    while (line := await reader.readuntil(b"\n")).strip():  # trailers
        writer.write(line)
    writer.write(line)
    await writer.drain()


Rules = dict[str, re.Pattern[str]]
REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: 10\r\nConnection: close\r\n\r\nForbidden\n"


def allows(rules: Rules, method: str, path: str) -> bool:
    """Whether it may pass. Without rules, everything may."""
    rule = rules.get(method)
    return not rules or (rule is not None and rule.fullmatch(path.split("?")[0]) is not None)


async def pass_requests(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    client: asyncio.StreamWriter,
    log: TextIO,
    rules: Rules,
) -> None:
    """Request by request, so that each is seen also where a connection carries several."""
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return
        lines = head.decode("latin-1").split("\r\n")
        method, path, _ = lines[0].split(" ", 2)
        allowed = allows(rules, method, path)
        log.write(f"{time.time():.6f} {method} {path}{'' if allowed else ' refused'}\n")
        if not allowed:
            client.write(REFUSED)
            await client.drain()
            return
        headers = dict(line.lower().split(":", 1) for line in lines[1:] if ":" in line)
        writer.write(head)
        await writer.drain()
        if "upgrade" in headers:  # from here on it is no HTTP
            await copy(reader, writer)
            return
        if "chunked" in headers.get("transfer-encoding", ""):
            await copy_chunked(reader, writer)
        else:
            await copy_exactly(reader, writer, int(headers.get("content-length", 0)))


async def serve_one(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, engine: str, log: TextIO, rules: Rules | None = None
) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        engine_reader, engine_writer = await asyncio.open_unix_connection(engine, limit=LIMIT)
        try:
            there = asyncio.create_task(pass_requests(reader, engine_writer, writer, log, rules or {}))
            back = asyncio.create_task(copy(engine_reader, writer))
            # Whoever hangs up first ends both: an event stream ends when the client goes.
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
            if there.done() and not there.cancelled() and there.exception() is None:
                engine_writer.write_eof()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(back), 1)
            for task in (there, back):
                task.cancel()
            await asyncio.gather(there, back, return_exceptions=True)
        finally:
            engine_writer.close()
    writer.close()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", type=Path, required=True, help="the socket to make")
    parser.add_argument("--engine", default="/var/run/docker.sock", help="the engine's own socket")
    parser.add_argument("--log", type=Path, required=True, help="what was asked, appended")
    parser.add_argument(
        "--allow", action="append", default=[], metavar="METHOD=REGEX", help="what may pass, and nothing else"
    )
    options = parser.parse_args()
    rules = {method: re.compile(rule) for method, _, rule in (allow.partition("=") for allow in options.allow)}

    options.listen.unlink(missing_ok=True)
    end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    with options.log.open("a", buffering=1) as log:
        server = await asyncio.start_unix_server(
            lambda reader, writer: serve_one(reader, writer, options.engine, log, rules),
            path=options.listen,
            limit=LIMIT,
            backlog=1024,
        )
        print("ready", flush=True)
        await end.wait()
        server.close()
    options.listen.unlink(missing_ok=True)


if __name__ == "__main__":
    asyncio.run(main())
