"""Yahoo's stream of headlines on loopback, for the real yfinance client.

::

    with NewsStub() as yahoo:
        yahoo.stream = [story("Acme's profit falls 20%", "2025-02-10T14:00:00Z")]
        YahooNews(session=yahoo.session()).tell(ACME, asked_at)
        yahoo.answer = (502, "<html>Bad Gateway</html>")      # until it is None again
"""

import json
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pandas as pd
from yahoo_stub import SLOW_SECONDS, YahooStub, _Handler

CONSENT = "<html><head><title>Your privacy choices</title></head><body>Accept all</body></html>"
REPAIRS = "<html><body><h1>Will be right back...</h1></body></html>"
INVALID_CRUMB = (
    '{"finance": {"result": null, "error": {"code": "Unauthorized", "description": "Invalid Crumb"}}}'
)


def address(title: str) -> str:
    """Make the address of a story from its title."""
    return f"https://finance.yahoo.com/news/{quote(title, safe='')}.html"


def story(title: str, published: str, summary: str = "", /, **fields: Any) -> dict[str, Any]:
    """Write an entry in Yahoo's form of today; `fields` of its content differ, None takes one away."""
    url = {"url": address(title), "site": "finance", "region": "US", "lang": "en-US"}
    content = {
        "id": address(title),
        "contentType": "STORY",
        "title": title,
        "description": "",
        "summary": summary,
        "pubDate": published,
        "displayTime": published,
        "provider": {"displayName": "Wire", "url": "https://wire.example/"},
        "canonicalUrl": url,
        "clickThroughUrl": url,
    } | fields
    return {
        "id": address(title),
        "content": {name: told for name, told in content.items() if told is not None},
    }


def flat_story(title: str, published: str) -> dict[str, Any]:
    """Write an entry in Yahoo's form before 2024."""
    return {
        "uuid": address(title),
        "title": title,
        "publisher": "Wire",
        "link": address(title),
        "providerPublishTime": int(pd.Timestamp(published).timestamp()),
        "type": "STORY",
        "relatedTickers": ["ACME"],
    }


def advertisement() -> dict[str, Any]:
    """Write what Yahoo puts between two stories."""
    return {"id": "ad", "type": "AD", "ad": {"adChoicesUrl": "https://ads.example/"}, "content": None}


class NewsStub(YahooStub):
    """The stub of prices, with headlines.

    Attributes
    ----------
    stream : list
        Entries for whoever asks.
    answer : tuple of int and str, or None
        Status and body in place of the stream.
    is_slow : bool
        Keep the reply back.
    asked : list of dict
        Query and body of each request for headlines.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stream: list[Any] = []
        self.answer: tuple[int, str] | None = None
        self.is_slow = False
        self.asked: list[dict[str, Any]] = []
        stub = self

        class Handler(_NewsHandler):
            yahoo = stub

        self._server.RequestHandlerClass = Handler

    def reply(self) -> tuple[int, str]:
        """Write the reply: status and body."""
        stream = {"nextPage": False, "pagination": {"uuids": ""}, "stream": self.stream}
        return self.answer or (200, json.dumps({"data": {"tickerStream": stream}, "status": "OK"}))


class _NewsHandler(_Handler):
    yahoo: NewsStub

    def do_POST(self) -> None:
        parts = urlsplit(self.path)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.yahoo.requests.append(parts.path[1:])
        self.yahoo.asked.append({"query": parse_qs(parts.query), "body": body})
        if self.yahoo.is_slow:
            self.yahoo.closing.wait(SLOW_SECONDS)
        else:
            self._send(*self.yahoo.reply())
