"""Drives an instance with the official MCP SDK, as a client would, and prints what it saw as JSON.

    mcp_drive.py --url http://mcp-alice.mcp.localhost:8088/mcp --token-file T [--connect 127.0.0.1:8088]
                 [--navigate URL] [--screenshot out.png] [--expect-size 1280x720] [--ca wildcard.crt] [--hold SECS]

Lists the tools; with --navigate opens a page, takes a screenshot with the browser's own tool, checks that it
is a picture of something, and asks the page for its title and the screen's size. With --hold the session, and
so the browser's window, stays open for so long after the answer was printed, and must still answer then; a
second line of JSON and exit 1 tell when it did not.

Exit 0 and {"ok": true, ...}; exit 1 and {"ok": false, "reason": ..., "status": the last HTTP status}, with the
reason on stderr too. Names under .localhost are taken for loopback whatever this machine's resolver says.
"""

import argparse
import asyncio
import base64
import io
import json
import logging
import re
import ssl
import sys
from pathlib import Path

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from PIL import Image


class Failure(Exception):
    """What was seen is not what was asked for."""


class Transport(httpx2.AsyncHTTPTransport):
    """Connects to `connect`, while Host, SNI and certificate check keep the URL's name; notes each status."""

    def __init__(self, connect: tuple[str, int] | None, statuses: list[int], verify: ssl.SSLContext | bool):
        super().__init__(verify=verify, trust_env=False)
        self.connect = connect
        self.statuses = statuses

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        name = request.url.host
        connect = self.connect
        if connect is None and name.endswith(".localhost"):
            connect = ("127.0.0.1", request.url.port or {"http": 80, "https": 443}[request.url.scheme])
        if connect is not None:
            request.extensions = {**request.extensions, "sni_hostname": name}
            request.url = request.url.copy_with(host=connect[0], port=connect[1])
        response = await super().handle_async_request(request)
        self.statuses.append(response.status_code)
        return response


async def call(client: Client, tool: str, arguments: dict) -> list:
    result = await client.call_tool(tool, arguments)
    if result.is_error:
        text = " ".join(getattr(part, "text", "") for part in result.content)
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        raise Failure(f"{tool} failed: {lines[0] if lines else 'no reason given'}")
    return result.content


def evaluated(content: list) -> dict:
    """The value that browser_evaluate returned; its text also tells what code ran."""
    text = "\n".join(getattr(part, "text", "") for part in content)
    found = re.search(r"### Result\n(.*?)(?:\n###|\Z)", text, re.DOTALL)
    if not found:
        raise Failure(f"browser_evaluate answered without a result: {text[:300]}")
    value = json.loads(found.group(1))
    return json.loads(value) if isinstance(value, str) else value


def looked_at(content: list, save_as: Path | None) -> dict:
    picture = next((part for part in content if part.type == "image"), None)
    if picture is None:
        raise Failure("browser_take_screenshot answered without an image")
    data = base64.b64decode(picture.data)
    image = Image.open(io.BytesIO(data)).convert("RGB")
    if save_as is not None:
        image.save(save_as)
    colours = len(image.getcolors(maxcolors=image.width * image.height))
    if colours < 2:
        raise Failure(f"the screenshot is blank: one colour on {image.width}x{image.height}")
    return {"width": image.width, "height": image.height, "colours": colours, "bytes": len(data)}


async def drive(options: argparse.Namespace, statuses: list[int]) -> dict:
    headers = {}
    if options.token_file is not None:
        headers["Authorization"] = f"Bearer {options.token_file.read_text().strip()}"
    verify = ssl.create_default_context(cafile=options.ca) if options.ca else True
    http = httpx2.AsyncClient(
        headers=headers,
        timeout=httpx2.Timeout(options.timeout),
        transport=Transport(options.connect, statuses, verify),
    )
    seen: dict = {"ok": True}
    async with http, Client(streamable_http_client(options.url, http_client=http)) as client:
        if client.server_info is not None:
            seen["server"] = {"name": client.server_info.name, "version": client.server_info.version}
        seen["protocol"] = client.protocol_version
        seen["tools"] = sorted(tool.name for tool in (await client.list_tools()).tools)
        if options.navigate is not None:
            await visit_page(client, options, seen)
        if options.hold > 0:
            print(json.dumps(seen), flush=True)
            await asyncio.sleep(options.hold)
            await client.list_tools(cache_mode="bypass")
    return seen


async def visit_page(client: Client, options: argparse.Namespace, seen: dict) -> None:
    await call(client, "browser_navigate", {"url": options.navigate})
    page = evaluated(
        await call(
            client,
            "browser_evaluate",
            {
                "function": "() => ({ url: location.href, title: document.title,"
                " screen: { width: screen.width, height: screen.height },"
                " window: { width: innerWidth, height: innerHeight } })"
            },
        )
    )
    if page["url"].startswith("chrome-error:"):
        raise Failure(f"the browser shows an error page instead of {options.navigate}")
    seen["page"] = page
    picture = await call(client, "browser_take_screenshot", {"type": "png"})
    seen["screenshot"] = looked_at(picture, options.screenshot)
    if options.expect_size not in (None, (page["screen"]["width"], page["screen"]["height"])):
        wanted = "x".join(map(str, options.expect_size))
        raise Failure(f"the screen is {page['screen']['width']}x{page['screen']['height']}, not {wanted}")


def causes(error: BaseException) -> list[str]:
    """The leaves of a group of exceptions, told once each."""
    if isinstance(error, BaseExceptionGroup):
        return list(dict.fromkeys(text for inner in error.exceptions for text in causes(inner)))
    return [str(error) or type(error).__name__]


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="the MCP endpoint")
    parser.add_argument("--token-file", type=Path, help="the bearer token; without it the request carries none")
    parser.add_argument("--connect", type=address, metavar="HOST:PORT", help="connect there; Host stays the URL's")
    parser.add_argument("--ca", help="a PEM file to trust")
    parser.add_argument("--navigate", metavar="URL", help="a page to open")
    parser.add_argument("--screenshot", type=Path, metavar="PNG", help="where to keep the screenshot")
    parser.add_argument("--expect-size", type=size, metavar="WxH", help="fail unless the screen is of this size")
    parser.add_argument("--hold", type=float, default=0.0, metavar="SECS", help="keep the session open for so long")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECS", help="of the visit, not of --hold")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # the reason is told once, below

    statuses: list[int] = []

    async def visit() -> dict:
        async with asyncio.timeout(options.timeout + options.hold):
            return await drive(options, statuses)

    try:
        seen = asyncio.run(visit())
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told as JSON
        refused = next((status for status in statuses if status in (401, 403, 404, 429) or status >= 500), None)
        reason = "; ".join(causes(error))
        if isinstance(error, TimeoutError):
            reason = f"no end after {options.timeout:g} s"
        elif refused is not None:
            reason = f"HTTP {refused} ({reason})"
        print(f"mcp_drive: {reason}", file=sys.stderr)
        seen = {"ok": False, "reason": reason, "status": statuses[-1] if statuses else None}
    if options.hold == 0 or not seen["ok"]:
        print(json.dumps(seen))
    return 0 if seen["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
