"""A proxy on loopback that brings the TLS requests of an unpatched process to a plain stub.

::

    with YahooStub() as yahoo, TlsProxy(yahoo._server.server_port, tmp_path) as proxy:
        subprocess.run([...], env=os.environ | proxy.environment())

``https://host/path?query`` reaches the stub as ``/host/path?query``, whether the host exists or not.
"""

import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SHUT_RDWR, socket
from threading import Lock, Thread
from typing import Any, Self
from urllib.parse import urlsplit

import trustme

# Headers of one connection; the length is counted anew.
LEFT_OUT = {"connection", "content-length", "expect", "transfer-encoding"}


class TlsProxy(ThreadingHTTPServer):
    """Brings requests to `port` on 127.0.0.1; `folder` takes a certificate and the clients' caches."""

    daemon_threads = False  # so that closing waits for them
    request_queue_size = 64

    def __init__(self, port: int, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.stub_port = port
        self.authority = trustme.CA()
        self.authority.cert_pem.write_to_path(str(folder / "authority.pem"))
        self._folder = folder
        self._thread = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        self._lock = Lock()
        self._closing = False
        self._connections: set[socket] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        with self._lock:
            self._closing = True
            for connection in self._connections:
                with suppress(OSError):
                    # An SSLSocket's own shutdown takes its state from under the thread that reads.
                    socket.shutdown(connection, SHUT_RDWR)
        self.server_close()
        self._thread.join()

    def environment(self) -> dict[str, str]:
        """Return the variables that send a process here, whichever host it asks."""
        address = f"http://127.0.0.1:{self.server_port}"
        proxies = {"HTTPS_PROXY": address, "HTTP_PROXY": address, "NO_PROXY": ""}
        trust = ("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
        return {
            **proxies,
            **{name.lower(): value for name, value in proxies.items()},
            **dict.fromkeys(trust, str(self._folder / "authority.pem")),
            "XDG_CACHE_HOME": str(self._folder / "cache"),
        }

    @contextmanager
    def watched(self, connection: socket) -> Iterator[None]:
        """Let the closing of the proxy end what waits on `connection`."""
        with self._lock:
            if self._closing:
                raise ConnectionAbortedError
            self._connections.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._connections.discard(connection)


class _Handler(BaseHTTPRequestHandler):
    """Serves one connection; a tunnel within it, to `host`, is served by a handler of its own."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: TlsProxy

    def __init__(self, *args: Any, host: str | None = None) -> None:
        self._host = host
        super().__init__(*args)

    def handle(self) -> None:
        # A stub that hangs up, a client that leaves or distrusts: each ends the connection, no more.
        with suppress(OSError, HTTPException), self.server.watched(self.connection):
            super().handle()

    def do_CONNECT(self) -> None:
        host = urlsplit(f"//{self.path}").hostname or ""
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.set_alpn_protocols(["http/1.1"])
        self.server.authority.issue_cert(host).configure_cert(tls)
        self.close_connection = True
        self.send_response_only(200)
        self.end_headers()
        with tls.wrap_socket(self.connection, server_side=True, do_handshake_on_connect=False) as secure:
            _Handler(secure, self.client_address, self.server, host=host)  # its first read shakes hands

    def do_GET(self) -> None:
        url, body = urlsplit(self.path), self._body()
        path = f"/{self._host or url.hostname}{url._replace(scheme='', netloc='').geturl()}"
        stub = HTTPConnection("127.0.0.1", self.server.stub_port)
        stub.connect()
        with stub.sock as connection, self.server.watched(connection):
            stub.putrequest(self.command, path, skip_host=True, skip_accept_encoding=True)
            for header in _headers(self.headers.items(), body):
                stub.putheader(*header)
            stub.endheaders(body)
            with stub.getresponse() as reply:
                content = reply.read()
        self.send_response_only(reply.status, reply.reason)
        for header in _headers(reply.getheaders(), content):
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(content)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def _body(self) -> bytes:
        if "Transfer-Encoding" not in self.headers:
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body, size = b"", -1
        while size:
            size = int(self.rfile.readline(), 16)
            body += self.rfile.read(size)
            self.rfile.readline()
        return body

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def _headers(given: Iterable[tuple[str, str]], content: bytes) -> list[tuple[str, str]]:
    kept = [(name, value) for name, value in given if name.lower() not in LEFT_OUT]
    return [*kept, ("Content-Length", str(len(content)))]
