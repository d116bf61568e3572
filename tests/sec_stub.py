"""A stub of the SEC's lists of companies and filings on loopback.

::

    with SecStub() as sec:
        company = sec.add(StubCompany("AAA", 1234567))
        company.recent.append(StubFiling("2.02,9.01", "2024-05-02T20:30:41.000Z"))
        Filings("somebody@example.com", url=sec.url, data_url=sec.data_url).tell(...)
        sec.failures["CIK0001234567.json"] = Failure.SERVER_ERROR

Its paths begin with the host, as they do behind a `TlsProxy`.
"""

import json
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, Self

SLOW_SECONDS = 30.0


class Failure(StrEnum):
    """How the stub may answer instead."""

    LIMIT = "limit"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    MOVED = "moved"
    SERVER_ERROR = "server_error"
    UNAVAILABLE = "unavailable"
    PAGE = "page"
    EMPTY = "empty"
    NO_OBJECT = "no_object"
    TRUNCATED = "truncated"
    BROKEN_OFF = "broken_off"
    SLOW = "slow"


@dataclass
class StubFiling:
    """One filing as the SEC lists it; `filed` is the day of `accepted` unless told."""

    items: str | None
    accepted: str | None
    form: str = "8-K"
    filed: str = ""
    number: str = "0001234567-24-000001"

    def columns(self) -> dict[str, Any]:
        return {
            "accessionNumber": self.number,
            "filingDate": self.filed or (self.accepted or "")[:10],
            "reportDate": "",
            "acceptanceDateTime": self.accepted,
            "form": self.form,
            "items": self.items,
            "size": 4096,
            "primaryDocument": "report.htm",
        }


@dataclass
class StubCompany:
    """One filer of the stub; change it between requests as the world would.

    Attributes
    ----------
    ticker : str
    cik : int
    recent : list of StubFiling
        The page that comes with the company.
    older : list of list of StubFiling
        The pages that have to be asked for.
    columns : dict
        Columns of `recent` that differ; None takes one away.
    """

    ticker: str
    cik: int
    recent: list[StubFiling] = field(default_factory=list)
    older: list[list[StubFiling]] = field(default_factory=list)
    columns: dict[str, Any] = field(default_factory=dict)

    @property
    def file(self) -> str:
        return f"CIK{self.cik:010d}.json"

    def pages(self) -> dict[str, Any]:
        """Build all replies about this company by the last part of their path."""
        names = [
            f"CIK{self.cik:010d}-submissions-{place:03d}.json" for place in range(1, len(self.older) + 1)
        ]
        recent = {
            name: column for name, column in (page(self.recent) | self.columns).items() if column is not None
        }
        files = []
        for name, filings in zip(names, self.older, strict=True):
            dates = sorted(filing.columns()["filingDate"] for filing in filings)
            files.append(
                {"name": name, "filingCount": len(dates), "filingFrom": dates[0], "filingTo": dates[-1]}
            )
        about = {"cik": f"{self.cik:010d}", "tickers": [self.ticker], "name": f"{self.ticker} Incorporated"}
        first = {self.file: about | {"filings": {"recent": recent, "files": files}}}
        return first | dict(zip(names, map(page, self.older), strict=True))


def page(filings: list[StubFiling]) -> dict[str, list[Any]]:
    """Turn filings into the columns that the SEC sends."""
    rows = [filing.columns() for filing in filings]
    return {name: [row[name] for row in rows] for name in StubFiling("", "").columns()}


class SecStub:
    """The server; a context manager.

    Attributes
    ----------
    companies : dict of str to StubCompany
    failures : dict of str to Failure
        By the last part of the path that fails.
    stumbles : dict of str to Failure
        The same, for one request only.
    requests : list of str
        Host and path of every request so far.
    agents : set of str
        Every User-Agent so far.
    """

    def __init__(self) -> None:
        self.companies: dict[str, StubCompany] = {}
        self.failures: dict[str, Failure] = {}
        self.stumbles: dict[str, Failure] = {}
        self.requests: list[str] = []
        self.agents: set[str] = set()
        self.closing = Event()
        stub = self

        class Handler(_Handler):
            sec = stub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}/www.sec.gov"
        self.data_url = f"http://127.0.0.1:{self.port}/data.sec.gov"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add(self, company: StubCompany) -> StubCompany:
        """List `company` from now on."""
        self.companies[company.ticker] = company
        return company

    def replies(self) -> dict[str, Any]:
        """Build all replies by host and path."""
        listed = [
            {"cik_str": one.cik, "ticker": one.ticker, "title": f"{one.ticker} Incorporated"}
            for one in self.companies.values()
        ]
        tickers = {str(place): one for place, one in enumerate(listed)}
        pages = {name: reply for one in self.companies.values() for name, reply in one.pages().items()}
        return {"/www.sec.gov/files/company_tickers.json": tickers} | {
            f"/data.sec.gov/submissions/{name}": reply for name, reply in pages.items()
        }


class _Handler(BaseHTTPRequestHandler):
    sec: SecStub

    def do_GET(self) -> None:
        self.sec.requests.append(self.path)
        self.sec.agents.add(self.headers.get("User-Agent", ""))
        name = self.path.rpartition("/")[2]
        failure = self.sec.stumbles.pop(name, None) or self.sec.failures.get(name)
        replies = self.sec.replies()
        if failure is None and self.path not in replies:
            failure = Failure.NOT_FOUND
        body = json.dumps(replies.get(self.path))
        match failure:
            case Failure.SLOW:
                self.sec.closing.wait(SLOW_SECONDS)
            case Failure.TRUNCATED:
                self._send(200, body[: len(body) // 2])
            case Failure.BROKEN_OFF:
                self._send(200, body[: len(body) // 2], {"Content-Length": str(len(body))})
            case _:
                self._send(*REFUSALS.get(failure, (200, body)))

    def _send(self, status: int, body: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


_THRESHOLD = "<html>\n<title>SEC.gov | Request Rate Threshold Exceeded</title>\n</html>"

REFUSALS: dict[Failure | None, tuple[int, str]] = {
    Failure.LIMIT: (429, _THRESHOLD),
    Failure.FORBIDDEN: (403, _THRESHOLD),
    Failure.NOT_FOUND: (404, "<?xml version='1.0'?>\n<Error><Code>NoSuchKey</Code></Error>"),
    Failure.MOVED: (301, ""),
    Failure.SERVER_ERROR: (500, "<html>\n<body>Internal Server Error</body>\n</html>"),
    Failure.UNAVAILABLE: (503, "<html>\n<body>This page is temporarily unavailable.</body>\n</html>"),
    Failure.PAGE: (200, "<html>\n<body>EDGAR is down for maintenance</body>\n</html>"),
    Failure.EMPTY: (200, ""),
    Failure.NO_OBJECT: (200, "{}"),
}
