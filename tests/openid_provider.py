"""A small OpenID provider on loopback: discovery, authorization code with PKCE, signed tokens, sign-out.

::

    with OpenIDProvider({"ann": {"email": "ann@example.org"}}) as provider:
        ...  # provider.metadata_url; its page has a link for each user

A user's claims may say ``exp``, ``aud`` and so on, to be refused; ``forged`` signs with a key that the
provider does not publish.
"""

import base64
import hashlib
import html
import json
import secrets
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

HEAD = '<!doctype html><title>Who are you?</title><link rel="icon" href="data:,">'
CLIENT, SECRET = "forecaster", "the client's secret"


class OpenIDProvider(ThreadingHTTPServer):
    """Knows `users`, by name, with what it says of each."""

    def __init__(self, users: dict[str, dict[str, Any]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.users = users
        self.issuer = f"http://127.0.0.1:{self.server_port}"
        self.metadata_url = f"{self.issuer}/.well-known/openid-configuration"
        self.key = RSAKey.generate_key(2048, {"kid": "published"})
        self.unknown_key = RSAKey.generate_key(2048, {"kid": "published"})
        self.granted: dict[str, dict[str, str]] = {}
        self._thread = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()

    def token(self, asked: dict[str, str]) -> str:
        """Sign what is known of the user that an authorization was granted for."""
        issued = int(time.time())
        said = {
            "iss": self.issuer, "aud": asked["client_id"], "sub": asked["user"], "nonce": asked["nonce"],
            "iat": issued, "exp": issued + 300,
        } | self.users[asked["user"]]  # fmt: skip
        key = self.unknown_key if said.pop("forged", False) else self.key
        return jwt.encode({"alg": "RS256", "kid": "published"}, said, key)


class _Handler(BaseHTTPRequestHandler):
    server: OpenIDProvider

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == "/.well-known/openid-configuration":
            issuer = self.server.issuer
            self._answer({
                "issuer": issuer,
                "authorization_endpoint": f"{issuer}/authorize",
                "token_endpoint": f"{issuer}/token",
                "jwks_uri": f"{issuer}/keys",
                "end_session_endpoint": f"{issuer}/leave",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "code_challenge_methods_supported": ["S256"],
            })  # fmt: skip
        elif url.path == "/keys":
            self._answer(KeySet([self.server.key]).as_dict(private=False))
        elif url.path == "/leave":
            self._send_to(asked["post_logout_redirect_uri"])
        elif url.path == "/authorize" and asked.get("user") in self.server.users:
            code = secrets.token_urlsafe()
            self.server.granted[code] = asked
            back = urlencode({"code": code, "state": asked["state"]})
            self._send_to(f"{asked['redirect_uri']}?{back}")
        elif url.path == "/authorize":
            links = [
                f'<p><a href="{html.escape(self.path)}&amp;user={name}">{name}</a>'
                for name in self.server.users
            ]
            self._write("text/html", f"{HEAD}{''.join(links)}".encode())
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        """Give a token for a code, once, to the client who asked for it and can tell its secret."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        given = {name: values[0] for name, values in parse_qs(body).items()}
        asked = self.server.granted.pop(given["code"])
        said = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        digest = hashlib.sha256(given["code_verifier"].encode()).digest()
        if (
            self.headers["Authorization"] != f"Basic {said}"
            or asked["redirect_uri"] != given["redirect_uri"]
            or asked["code_challenge"] != base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        ):
            self.send_error(401)
            return
        self._answer({"access_token": "none", "token_type": "Bearer", "id_token": self.server.token(asked)})

    def _answer(self, value: object) -> None:
        self._write("application/json", json.dumps(value).encode())

    def _write(self, kind: str, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _send_to(self, url: str) -> None:
        self.send_response(302)
        self.send_header("Location", url)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Say nothing."""
