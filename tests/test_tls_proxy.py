"""The TLS proxy: what an unpatched process asks of any host is answered on loopback."""

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPSConnection, RemoteDisconnected
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import certifi
import pytest
import requests
from curl_cffi import CurlHttpVersion
from curl_cffi import requests as curl
from tls_proxy import TlsProxy
from yahoo_stub import StubSymbol, YahooStub, sessions, traded

NOWHERE = "no-such-host.invalid"
AT_ONCE = 8


class Echo(ThreadingHTTPServer):
    """Answers with what it was asked; the last part of the path says in which way."""

    request_queue_size = AT_ONCE

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Echo)
        self.together = threading.Barrier(AT_ONCE, timeout=10)
        self.kept_waiting = threading.Event()
        self.closing = threading.Event()


class _Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Echo

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        way = self.path.rpartition("/")[2]
        if way == "together":
            self.server.together.wait()
        elif way == "never":
            self.server.kept_waiting.set()
            self.server.closing.wait(60)
        if way in ("never", "hang-up"):
            self.close_connection = True
            return
        asked = {"method": self.command, "path": self.path, "body": body, "headers": dict(self.headers)}
        content = json.dumps(asked).encode()
        self.send_response(200)
        self.send_header("Set-Cookie", "first=1")
        self.send_header("Set-Cookie", "second=2")
        if way == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
            head, last = content[:-1], content[-1:]
            content = b"%x\r\n%b\r\n1\r\n%b\r\n0\r\n\r\n" % (len(head), head, last)
        elif way == "until-closed":
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_HEAD = do_POST = do_GET  # noqa: N815

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def echo() -> Iterator[Echo]:
    """Serve echoes in plain HTTP."""
    with Echo() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(echo: Echo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TlsProxy]:
    """Send what this process asks to the echo."""
    with TlsProxy(echo.server_port, tmp_path) as made:
        for name, value in made.environment().items():
            monkeypatch.setenv(name, value)
        yield made


def tunnel(proxy: TlsProxy) -> HTTPSConnection:
    """Connect to a host that does not exist; once closed, the connection is not made again."""
    context = ssl.create_default_context(cafile=proxy.environment()["SSL_CERT_FILE"])
    context.set_alpn_protocols(["h2", "http/1.1"])
    connection = HTTPSConnection("127.0.0.1", proxy.server_port, context=context, timeout=10)
    connection.set_tunnel(NOWHERE, 443)
    connection.connect()
    connection.auto_open = 0
    return connection


def lasting_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if not thread.daemon}


def test_the_real_client_gets_the_bars(tmp_path: Path) -> None:
    code = (
        "import yfinance\n"
        "bars = yfinance.Ticker('AAA').history(start='2024-01-02', end='2024-02-01', auto_adjust=False)\n"
        "print(bars['Close'].round(2).to_list())"
    )
    days = sessions("2024-01-02", "2024-01-31")
    with YahooStub() as yahoo, TlsProxy(yahoo._server.server_port, tmp_path) as proxy:
        yahoo.add(StubSymbol("AAA", days))
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | proxy.environment(), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == traded(days)["close"].to_list()
    assert {"fc.yahoo.com/", "query1.finance.yahoo.com/v1/test/getcrumb"} < set(yahoo.requests)
    assert set(yahoo.charts()) == {"AAA"}
    assert list((tmp_path / "cache").iterdir())


@pytest.mark.usefixtures("proxy")
@pytest.mark.parametrize("scheme", ["https", "http"])
@pytest.mark.parametrize("host", ["api.tiingo.com", NOWHERE])
def test_any_host_is_the_stub(scheme: str, host: str) -> None:
    wanted = "tiingo/daily/%5EAAA/prices?startDate=2024-01-02&x=a%20b"
    token = {"Authorization": "Token abc"}
    reply = requests.get(f"{scheme}://{host}/{wanted}", headers=token, timeout=10)
    asked = reply.json()
    assert (asked["method"], asked["path"], asked["body"]) == ("GET", f"/{host}/{wanted}", "")
    assert asked["headers"]["Host"] == host
    assert asked["headers"]["Authorization"] == "Token abc"
    assert reply.cookies.get_dict() == {"first": "1", "second": "2"}


@pytest.mark.usefixtures("proxy")
@pytest.mark.parametrize("way", ["counted", "chunked", "until-closed"])
@pytest.mark.parametrize("body", [[b"a" * 300_000], [b"one", b"two"], [b""]])
def test_bodies_arrive_whole(way: str, body: list[bytes]) -> None:
    whole = b"".join(body)
    with requests.Session() as session:
        for data in (whole, iter(body), whole):  # requests sends what it cannot measure in chunks
            asked = session.post(f"https://{NOWHERE}/{way}", data=data, timeout=10).json()
            assert (asked["method"], asked["body"]) == ("POST", whole.decode())


def test_many_requests_share_a_connection(proxy: TlsProxy) -> None:
    connection = tunnel(proxy)
    for number in range(200):
        connection.request("HEAD" if number % 5 == 0 else "GET", f"/{number}")
        content = connection.getresponse().read()
        assert (json.loads(content)["path"] == f"/{NOWHERE}/{number}") if number % 5 else (content == b"")
    connection.close()


def test_only_http_1_1_is_spoken(proxy: TlsProxy) -> None:
    connection = tunnel(proxy)
    assert isinstance(connection.sock, ssl.SSLSocket)
    assert connection.sock.selected_alpn_protocol() == "http/1.1"
    connection.close()
    with curl.Session(impersonate="chrome") as session:
        assert session.get(f"https://{NOWHERE}/").http_version == CurlHttpVersion.V1_1


@pytest.mark.usefixtures("proxy")
def test_connections_are_served_at_once() -> None:
    def ask(number: int) -> int:
        with curl.Session(impersonate="chrome") as session:
            return session.get(f"https://host{number}.invalid/together").status_code

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert list(pool.map(ask, range(AT_ONCE))) == [200] * AT_ONCE


def test_a_stub_that_hangs_up_is_a_host_that_hangs_up(proxy: TlsProxy) -> None:
    connection = tunnel(proxy)
    connection.request("GET", "/hang-up")
    with pytest.raises(RemoteDisconnected):
        connection.getresponse()
    connection.close()


@pytest.mark.usefixtures("proxy")
def test_a_client_that_distrusts_does_no_harm(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"https://{NOWHERE}/", verify=certifi.where(), timeout=10)
    assert requests.get(f"https://{NOWHERE}/", timeout=10).status_code == 200
    assert capfd.readouterr().err == ""


def test_closing_ends_every_connection(echo: Echo, tmp_path: Path) -> None:
    before = lasting_threads()
    with TlsProxy(echo.server_port, tmp_path) as proxy:
        silent = socket.create_connection(("127.0.0.1", proxy.server_port), timeout=10)
        idle, waiting = tunnel(proxy), tunnel(proxy)
        waiting.request("GET", "/never")
        assert echo.kept_waiting.wait(10)
        began = time.monotonic()
    assert time.monotonic() - began < 10
    assert lasting_threads() == before
    assert silent.recv(1) == b""
    with pytest.raises(RemoteDisconnected):
        waiting.getresponse()
    assert idle.sock.recv(1) == b""
    silent.close()
    idle.close()
