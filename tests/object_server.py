"""A real S3 server over HTTP for tests, and a proxy that injects faults."""

import contextlib
import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from moto.server import ThreadedMotoServer

SECRET = "correct-horse-battery"


@contextlib.contextmanager
def object_server() -> Iterator[str]:
    """HOST:PORT of an empty object store."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"{host}:{port}"
    finally:
        server.stop()


@contextlib.contextmanager
def answering(status: int, page: str) -> Iterator[str]:
    """HOST:PORT of a server with the same response to every request."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(status)
            self.send_header("Content-Length", str(len(page)))
            self.send_header("Content-Type", "application/xml")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *args: object) -> None: ...

    listener = _listen(0, Handler)
    try:
        yield f"127.0.0.1:{listener.server_port}"
    finally:
        _hang_up(listener)


class FaultyWay:
    """Passes requests on to a server. Each GET of an object or PUT takes the next of `faults`, and fails in that way.

    busy: 503, not passed on; cut: half the answer's body; short: half of it as if it were all; bent: a wrong
    byte in it; etag: a wrong etag; whole: ranges are forgotten; "": nothing happens.
    """

    def __init__(self, server: str) -> None:
        self.server, self.faults, self.requests = server, list[str](), list[tuple[str, str, str]]()
        self._lock = threading.Lock()
        self._listener: ThreadingHTTPServer | None = None
        self.port = 0

    def start(self) -> str:
        """HOST:PORT, the same after every start."""
        self._listener = _listen(self.port, _handler(self))
        self.port = self._listener.server_port
        return f"127.0.0.1:{self.port}"

    def stop(self) -> None:
        """From now on connections are refused."""
        if self._listener:
            _hang_up(self._listener)
            self._listener = None

    def next_fault(self, method: str, path: str, span: str) -> str:
        """Writes the request down; what shall go wrong with it."""
        is_object = method in ("GET", "PUT") and "?" not in path and path.count("/") > 1
        with self._lock:
            self.requests.append((method, path, span))
            return self.faults.pop(0) if is_object and self.faults else ""

    def gets(self) -> list[str]:
        """Of each GET of an object the range it asked for."""
        return [span for method, path, span in self.requests if method == "GET" and "?" not in path]


def _listen(port: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    listener = ThreadingHTTPServer(("127.0.0.1", port), handler)
    threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True).start()
    return listener


def _hang_up(listener: ThreadingHTTPServer) -> None:
    listener.shutdown()
    listener.server_close()


def _handler(way: FaultyWay) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(size)
            if len(body) < size:  # whoever asked is dead
                self.close_connection = True
                return
            fault = way.next_fault(self.command, self.path, self.headers.get("Range", ""))
            if fault == "busy":
                self.answer(503, [("Content-Type", "application/xml")], b"<Error><Code>SlowDown</Code></Error>")
                return
            headers = {name: value for name, value in self.headers.items() if (fault, name) != ("whole", "Range")}
            status, answered, content = _passed_on(way.server, self.command, self.path, body, headers)
            if fault == "etag":
                answered = [(name, f'"{"0" * 32}"' if name.lower() == "etag" else value) for name, value in answered]
            if fault == "short":
                content = content[: len(content) // 2]
            if fault == "bent":
                content = bytes([content[0] ^ 1]) + content[1:]
            self.answer(status, answered, content, len(content) // 2 if fault == "cut" else len(content))

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = do

        def answer(self, status: int, headers: list[tuple[str, str]], content: bytes, sent: int | None = None) -> None:
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                    self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(content)))
            else:
                self.send_header("Content-Length", dict(headers).get("Content-Length", "0"))
            self.end_headers()
            self.wfile.write(content[:sent])

        def log_message(self, *args: object) -> None: ...

    return Handler


def _passed_on(
    server: str, method: str, path: str, body: bytes, headers: dict[str, str]
) -> tuple[int, list[tuple[str, str]], bytes]:
    with contextlib.closing(http.client.HTTPConnection(server, timeout=20)) as connection:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()
