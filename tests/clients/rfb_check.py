"""Looks at an instance's desktop over noVNC's WebSocket, as a browser would, and prints what it saw as JSON.

    rfb_check.py --url ws://vnc-alice.mcp.localhost:8088/websockify --password-file P [--connect 127.0.0.1:8088]
                 [--screenshot out.png] [--expect-size 1280x720] [--ca wildcard.crt]

RFB 3.8 (RFC 6143) with VNC authentication; with --screenshot one whole frame is fetched as well.

Exit 0 and {"ok": true, "width", "height", "name"}; exit 1 and {"ok": false, "reason"} ("authentication failed"
for a wrong password; "HTTP N" and "status" when the WebSocket was refused), with the reason on stderr too.
Names under .localhost are taken for loopback whatever this machine's resolver says.
"""

import argparse
import json
import socket
import ssl
import struct
import sys
import warnings
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, connect

with warnings.catch_warnings():  # single DES is what the protocol has, and the library says so
    warnings.simplefilter("ignore")
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
    from cryptography.hazmat.primitives.ciphers import Cipher, modes

VNC_AUTHENTICATION = 2
RAW = 0


class Failure(Exception):
    """What was seen is not what was asked for."""


class Stream:
    """The bytes of a WebSocket whose messages end anywhere."""

    def __init__(self, websocket: ClientConnection, timeout: float):
        self.websocket = websocket
        self.timeout = timeout
        self.buffer = bytearray()

    def read(self, count: int) -> bytes:
        while len(self.buffer) < count:
            message = self.websocket.recv(timeout=self.timeout)
            if isinstance(message, str):
                raise Failure("a text message where RFB's bytes belong")
            self.buffer += message
        taken = bytes(self.buffer[:count])
        del self.buffer[:count]
        return taken

    def unpack(self, form: str) -> tuple:
        return struct.unpack(form, self.read(struct.calcsize(form)))

    def text(self) -> str:
        (length,) = self.unpack(">I")
        return self.read(length).decode("utf-8", "replace")

    def write(self, data: bytes) -> None:
        self.websocket.send(data)


def response(challenge: bytes, password: bytes) -> bytes:
    """DES of the challenge; VNC's key is the first eight characters, each with its bits reversed."""
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in password[:8].ljust(8, b"\0"))
    encryptor = Cipher(TripleDES(key * 3), modes.ECB()).encryptor()  # three times one key = single DES
    return encryptor.update(challenge) + encryptor.finalize()


def shake_hands(stream: Stream, password: bytes) -> dict:
    banner = stream.read(12)
    if not banner.startswith(b"RFB 003."):
        raise Failure(f"no RFB banner: {banner!r}")
    stream.write(b"RFB 003.008\n")
    (count,) = stream.unpack(">B")
    if count == 0:
        raise Failure(f"refused: {stream.text()}")
    offered = list(stream.read(count))
    if VNC_AUTHENTICATION not in offered:
        raise Failure(f"no VNC authentication on offer, only {offered}: anyone may look")
    stream.write(bytes([VNC_AUTHENTICATION]))
    stream.write(response(stream.read(16), password))
    (failed,) = stream.unpack(">I")
    if failed:
        raise Failure("authentication failed")
    stream.write(b"\x01")  # shared: others may look too
    width, height = stream.unpack(">HH")
    stream.read(16)
    return {"ok": True, "width": width, "height": height, "name": stream.text()}


def frame(stream: Stream, width: int, height: int) -> Image.Image:
    stream.write(struct.pack(">BxxxBBBBHHHBBBxxx", 0, 32, 24, 0, 1, 255, 255, 255, 16, 8, 0))
    stream.write(struct.pack(">BxHi", 2, 1, RAW))
    stream.write(struct.pack(">BBHHHH", 3, 0, 0, 0, width, height))
    image = Image.new("RGB", (width, height))
    painted = 0
    while painted < width * height:
        (kind,) = stream.unpack(">B")
        if kind == 2:  # bell
            continue
        if kind == 3:  # the clipboard's text
            stream.read(3)
            stream.text()
            continue
        if kind != 0:
            raise Failure(f"an RFB message of kind {kind} where a frame was asked for")
        (rectangles,) = stream.unpack(">xH")
        for _ in range(rectangles):
            x, y, w, h, encoding = stream.unpack(">HHHHi")
            if encoding != RAW:
                raise Failure(f"an encoding that was not asked for: {encoding}")
            image.paste(Image.frombytes("RGB", (w, h), stream.read(w * h * 4), "raw", "BGRX"), (x, y))
            painted += w * h
    return image


def look(options: argparse.Namespace) -> dict:
    url = urlsplit(options.url)
    secure = url.scheme == "wss"
    host, port = url.hostname or "", url.port or (443 if secure else 80)
    if options.connect is not None:
        host, port = options.connect
    elif host.endswith(".localhost"):
        host = "127.0.0.1"
    with connect(
        options.url,
        sock=socket.create_connection((host, port), timeout=options.timeout),
        ssl=ssl.create_default_context(cafile=options.ca) if secure else None,
        server_hostname=url.hostname if secure else None,
        subprotocols=["binary"],
        open_timeout=options.timeout,
        max_size=None,
        proxy=None,
    ) as websocket:
        stream = Stream(websocket, options.timeout)
        seen = shake_hands(stream, options.password_file.read_bytes().rstrip(b"\r\n"))
        if options.screenshot is not None:
            image = frame(stream, seen["width"], seen["height"])
            image.save(options.screenshot)
            seen["colours"] = len(image.getcolors(maxcolors=image.width * image.height))
    if options.expect_size not in (None, (seen["width"], seen["height"])):
        raise Failure(f"the desktop is {seen['width']}x{seen['height']}, not {'x'.join(map(str, options.expect_size))}")
    return seen


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="ws:// or wss://, ending in /websockify")
    parser.add_argument("--password-file", type=Path, required=True)
    parser.add_argument("--connect", type=address, metavar="HOST:PORT", help="connect there; Host stays the URL's")
    parser.add_argument("--ca", help="a PEM file to trust")
    parser.add_argument("--screenshot", type=Path, metavar="PNG", help="fetch a frame and keep it")
    parser.add_argument("--expect-size", type=size, metavar="WxH", help="fail unless the desktop is of this size")
    parser.add_argument("--timeout", type=float, default=15.0, metavar="SECS", help="of each wait")
    options = parser.parse_args()

    try:
        seen = look(options)
    except InvalidStatus as error:
        status = error.response.status_code
        seen = {"ok": False, "reason": f"HTTP {status}", "status": status}
    except TimeoutError:
        seen = {"ok": False, "reason": f"no answer within {options.timeout:g} s"}
    except (Failure, OSError, WebSocketException) as error:
        seen = {"ok": False, "reason": str(error) or type(error).__name__}
    if not seen["ok"]:
        print(f"rfb_check: {seen['reason']}", file=sys.stderr)
    print(json.dumps(seen))
    return 0 if seen["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
