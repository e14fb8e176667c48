"""What stands behind Traefik in test.sh; nothing else uses it.

upstream.py serve PORT                   answers with the request's headers as JSON; /events sends one event a
                                         second for six seconds; an Upgrade is echoed
upstream.py hold PORT HOST SECS [CA]     through Traefik: upgrades, waits SECS, sends and expects an echo
upstream.py dribble PORT HOST [CA]       sends half a request's head and prints after how many seconds it was cut
"""

import json
import socket
import ssl
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "upstream-test"

    def do_GET(self) -> None:
        if self.headers.get("Upgrade"):
            self.send_response(101)
            self.send_header("Connection", "Upgrade")
            self.send_header("Upgrade", self.headers["Upgrade"])
            self.end_headers()
            self.wfile.flush()
            while data := self.connection.recv(4096):
                self.connection.sendall(data)
            self.close_connection = True
        elif self.path.startswith("/events"):
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            for number in range(6):
                self.wfile.write(f"data: {number}\n\n".encode())
                self.wfile.flush()
                time.sleep(1)
        else:
            body = json.dumps(self.headers.items()).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def reach(port: str, host: str, ca: str | None) -> socket.socket:
    plain = socket.create_connection(("127.0.0.1", int(port)), timeout=20)
    if ca is None:
        return plain
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["http/1.1"])
    return context.wrap_socket(plain, server_hostname=host)


def hold(port: str, host: str, secs: str, ca: str | None = None) -> None:
    with reach(port, host, ca) as stream:
        head = f"GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        stream.sendall(head.encode())
        answer = stream.recv(4096)
        if b" 101 " not in answer:
            sys.exit(f"no upgrade: {answer!r}")
        time.sleep(float(secs))
        stream.sendall(b"still there")
        if stream.recv(4096) != b"still there":
            sys.exit("the upgraded connection was cut")


def dribble(port: str, host: str, ca: str | None = None) -> None:
    with reach(port, host, ca) as stream:
        stream.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n".encode())
        since = time.monotonic()
        stream.recv(4096)
        print(round(time.monotonic() - since))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", port]:
            ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()
        case ["hold", *rest]:
            hold(*rest)
        case ["dribble", *rest]:
            dribble(*rest)
        case _:
            sys.exit(__doc__)
