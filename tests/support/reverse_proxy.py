"""A reverse proxy as ingress controllers are: under a path, with forwarding headers, bodies buffered or passed on."""

import contextlib
import http.client
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_PIECE_BYTES = 64 * 1024
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


class ReverseProxy(ThreadingHTTPServer):
    """Serves what is below `prefix`, from a server on loopback."""

    daemon_threads = True

    def __init__(self, upstream: int, prefix: str, *, strips: bool, buffers: bool) -> None:
        """`strips`: the prefix is cut off. `buffers`: a body is taken whole first, and sent on with its length."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream, self.prefix, self.strips, self.buffers = upstream, prefix, strips, buffers

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}{self.prefix}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ReverseProxy

    def do_GET(self) -> None:
        self._forward()

    def do_POST(self) -> None:
        self._forward()

    def log_message(self, *_: object) -> None:
        """Write nothing."""

    def _forward(self) -> None:
        server = self.server
        if not self.path.startswith(server.prefix + "/"):
            self.send_error(404)
            return
        path = self.path.removeprefix(server.prefix) if server.strips else self.path
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        headers |= {"X-Forwarded-For": "198.51.100.7", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "llm.example"}
        upstream = http.client.HTTPConnection("127.0.0.1", server.upstream, timeout=60)
        with contextlib.closing(upstream), tempfile.TemporaryFile() as spool:
            body = None
            if self.command == "POST":
                body = self._pieces()
                if server.buffers:
                    for piece in body:
                        spool.write(piece)
                    headers["Content-Length"] = str(spool.tell())
                    spool.seek(0)
                    body = spool
            upstream.request(self.command, path, body, headers, encode_chunked=not server.buffers)
            answer = upstream.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name, value)
            data = answer.read()
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def _pieces(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length", 0))
        while left > 0:
            piece = self.rfile.read(min(left, _PIECE_BYTES))
            left -= len(piece)
            yield piece


@contextlib.contextmanager
def reverse_proxy(upstream: int, prefix: str, *, strips: bool, buffers: bool) -> Iterator[ReverseProxy]:
    """A proxy before that port, in a thread of its own."""
    with ReverseProxy(upstream, prefix, strips=strips, buffers=buffers) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), name="proxy")
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
