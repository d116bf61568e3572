"""Who may what: the settings of a login, roles from what a provider says, and what the pages then show."""

import http.client
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import streamlit.config
import typer
from command_line import ROOT, Run
from streamlit.runtime.scriptrunner import RerunData
from streamlit.testing.v1 import AppTest, local_script_runner

from forecaster import login
from forecaster.cli import app as commands
from forecaster.config import Settings
from forecaster.errors import UsageError

DOCUMENT = (ROOT / "docs" / "login.md").read_text(encoding="utf-8")
ANN = {"email": "Ann@Example.org"}
PARTS = {
    "public_url": "https://Forecasts.example.org/",
    "oidc_metadata_url": "https://login.example.org/.well-known/openid-configuration",
    "oidc_client_id": "forecaster",
}
SECRET = "as the provider gave it"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("FORECASTER_") and name.lower()[11:] in Settings.model_fields:
            monkeypatch.delenv(name)
    for name in (login.CLIENT_SECRET, login.COOKIE_SECRET):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("claims", "settings", "expected"),
    [
        (None, {}, None),
        (None, {"viewers": "everyone"}, "viewer"),
        (None, {"editors": "signed in"}, None),
        (ANN, {}, "viewer"),
        (ANN, {"editors": "ben@example.org,ann@example.ORG"}, "editor"),
        (ANN, {"editors": "@example.org"}, "editor"),
        (ANN, {"editors": "signed in"}, "editor"),
        (ANN, {"editors": "@ample.org", "viewers": "ben@example.org"}, None),
        (ANN, {"viewers": "@example.org"}, "viewer"),
        (ANN | {"email_verified": True}, {"editors": "@example.org"}, "editor"),
        (ANN | {"email_verified": "true"}, {"editors": "@example.org"}, "editor"),
        (ANN | {"email_verified": False}, {"editors": "ann@example.org"}, "viewer"),
        (ANN | {"email_verified": "false"}, {"editors": "@example.org", "viewers": "@example.org"}, None),
        (ANN | {"email_verified": None}, {"editors": "ann@example.org"}, "viewer"),
        (ANN, {"editors": "ann@example.org", "require_verified": "true"}, "viewer"),
        (ANN | {"email_verified": True}, {"editors": "@example.org", "require_verified": "true"}, "editor"),
        ({"email": "ann"}, {"editors": "@example.org"}, "viewer"),
        ({"email": "@example.org"}, {"editors": "ann@example.org"}, "viewer"),
        ({"email": None}, {"editors": "@example.org"}, "viewer"),
        ({"groups": ["a", "desk"]}, {"role_claim": "groups", "editor_role": "desk"}, "editor"),
        ({"groups": "desk"}, {"role_claim": "groups", "editor_role": "desk"}, "editor"),
        ({"groups": "desktop"}, {"role_claim": "groups", "editor_role": "desk"}, "viewer"),
        ({"groups": None}, {"role_claim": "groups", "editor_role": "desk", "viewers": "@example.org"}, None),
        ({"groups": ["desk"]}, {"role_claim": "groups", "editor_role": "desk", "viewers": ""}, "editor"),
    ],
)
def test_the_role_follows_from_the_settings(
    claims: dict[str, Any] | None, settings: dict[str, str], expected: str | None
) -> None:
    assert login.role(claims, Settings.load(**settings)) == expected


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"editors": "everyone"}, "editors.*everyone"),
        ({"editors": "ann"}, "editors.*ann"),
        ({"viewers": "anybody"}, "viewers.*anybody"),
        ({"viewers": "ann @example.org"}, "viewers"),
        ({"role_claim": "groups"}, "role_claim and editor_role"),
        ({"login_hours": 0}, "login_hours"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Settings.load(**wrong)


def test_a_sign_in_ends() -> None:
    settings = Settings.load(login_hours=2)
    moment = datetime(2026, 1, 5, 12, tzinfo=UTC)
    for hours, ended in ((1.9, False), (2.1, True)):
        assert login.expired({"iat": moment.timestamp() - hours * 3600}, settings, moment) is ended
    assert login.expired({}, settings, moment)


@pytest.mark.parametrize(
    ("address", "local"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False),
     ("::", False), ("192.0.2.7", False), ("localhost.example.org", False), ("", False), (None, False)],
)  # fmt: skip
def test_only_loopback_is_this_machine(address: str | None, local: bool) -> None:
    assert login.is_local(address) is local


def test_a_whole_login_in_streamlit_s_words(monkeypatch: pytest.MonkeyPatch) -> None:
    assert login.credentials(Settings.load()) is None
    monkeypatch.setenv(login.CLIENT_SECRET, SECRET)
    monkeypatch.setenv(login.COOKIE_SECRET, "c" * 32)
    assert login.credentials(Settings.load(**PARTS)) == {
        "redirect_uri": "https://forecasts.example.org/oauth2callback",
        "cookie_secret": "c" * 32,
        "client_id": "forecaster",
        "client_secret": SECRET,
        "server_metadata_url": PARTS["oidc_metadata_url"],
    }
    assert login.CLIENT_SECRET not in os.environ, "a job would inherit it"
    assert login.COOKIE_SECRET not in os.environ
    drawn = set()
    for _ in range(2):
        monkeypatch.setenv(login.CLIENT_SECRET, SECRET)
        drawn.add((login.credentials(Settings.load(**PARTS)) or {})["cookie_secret"])
    assert len(drawn) == 2
    assert min(map(len, drawn)) >= 32


@pytest.mark.parametrize("missing", [*PARTS, login.CLIENT_SECRET])
def test_a_login_in_part_is_refused(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    if missing != login.CLIENT_SECRET:
        monkeypatch.setenv(login.CLIENT_SECRET, SECRET)
    parts = {name: value for name, value in PARTS.items() if name != missing}
    with pytest.raises(UsageError, match=f"incomplete: (the variable )?{missing} not set"):
        login.credentials(Settings.load(**parts))


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("public_url", "http://forecasts.example.org"),
        ("public_url", "forecasts.example.org"),
        ("public_url", "https://forecasts.example.org/below"),
        ("public_url", "ftp://127.0.0.1"),
        ("oidc_metadata_url", "http://login.example.org/.well-known/openid-configuration"),
        (login.COOKIE_SECRET, "short"),
    ],
)
def test_what_is_not_safe_is_refused(monkeypatch: pytest.MonkeyPatch, part: str, value: str) -> None:
    monkeypatch.setenv(login.CLIENT_SECRET, SECRET)
    monkeypatch.setenv(login.COOKIE_SECRET, value if part == login.COOKIE_SECRET else "c" * 32)
    parts = PARTS if part == login.COOKIE_SECRET else PARTS | {part: value}
    with pytest.raises(UsageError, match=f"{part}: expected"):
        login.credentials(Settings.load(**parts))


def test_another_address_is_refused_without_a_login(tmp_path: Path) -> None:
    run = Run(tmp_path)
    message = run.refused("dashboard", "--address", "0.0.0.0", code=2)
    assert "--address 0.0.0.0" in message
    assert "docs/login.md" in message
    half = Run(tmp_path, {"FORECASTER_OIDC_CLIENT_ID": "forecaster", "FORECASTER_ADDRESS": "0.0.0.0"})
    assert login.CLIENT_SECRET in half.refused("dashboard", code=2)


def upgraded(url: str, named: str | None = None) -> int:
    """Ask for the connection over which a page is drawn, under a name; return the status of the answer."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=60)
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Host": named or where.netloc}  # fmt: skip
    with closing(connection):
        connection.request("GET", "/_stcore/stream", headers=headers | {"Origin": url})
        return connection.getresponse().status


@pytest.mark.parametrize("address", ["127.0.0.2", "::1"])
def test_another_name_of_this_machine_is_served_and_printed_as_it_is_typed(
    address: str, tmp_path: Path
) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.bind((address, 0))
            port = probe.getsockname()[1]
    except OSError:
        pytest.skip(f"this machine does not have {address}")
    words = ["dashboard", "--address", address, "--port", str(port), "--home", str(tmp_path / "home")]
    server = subprocess.Popen(
        [sys.executable, "-m", "forecaster", *words], cwd=tmp_path, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        assert server.stdout is not None
        url = server.stdout.readline().split()[1]
        end = time.monotonic() + 60
        while not answers(url):
            assert server.poll() is None and time.monotonic() < end
            time.sleep(0.1)
        assert upgraded(url) == 101
        assert upgraded(url, f"rebound.example.org:{port}") == 403
    finally:
        server.terminate()
        server.communicate()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/_stcore/health", timeout=60):
            return True
    except urllib.error.URLError:
        return False


def draw(monkeypatch: pytest.MonkeyPatch, home: Path, user: dict[str, Any], **settings: str) -> AppTest:
    monkeypatch.setenv("FORECASTER_HOME", str(home))
    for name, value in settings.items():
        monkeypatch.setenv(f"FORECASTER_{name.upper()}", value)
    script = "from forecaster.dashboard import PAGES, guarded\nguarded(PAGES['models'][2])()"
    app = AppTest.from_string(script, default_timeout=60)
    app.user = user
    app.run()
    assert not app.exception
    return app


def refusals(app: AppTest) -> list[str]:
    return [one.value for one in app.info if one.icon == ":material/lock:"]


def signed_in(**claims: Any) -> dict[str, Any]:
    return {"is_logged_in": True, "iat": time.time(), "sub": "1", **claims}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    from forecaster import jobs

    with jobs.recorded(tmp_path / "home", ["retrain", "--light"]):
        pass
    return tmp_path / "home"


def test_without_a_login_whoever_sits_here_may_change(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    shown = draw(monkeypatch, home, {})
    assert not shown.button(key="light").disabled
    assert not refusals(shown)


@pytest.fixture
def elsewhere() -> Iterator[None]:
    """Streamlit as it is when it was told to listen on every address."""
    before = streamlit.config.get_option("server.address")
    streamlit.config.set_option("server.address", "0.0.0.0")
    yield
    streamlit.config.set_option("server.address", before)


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(
    ("settings", "words"),
    [({}, "no login is set up"), ({"oidc_client_id": "forecaster"}, "started by")],
)
def test_at_another_address_nobody_sees_anything_without_a_login(
    monkeypatch: pytest.MonkeyPatch, home: Path, settings: dict[str, str], words: str
) -> None:
    shown = draw(monkeypatch, home, {}, **settings)
    assert words in shown.error[0].value
    assert not shown.button
    assert not shown.dataframe


@pytest.mark.parametrize(
    "user", [{"is_logged_in": False}, signed_in(email="ann@example.org", iat=time.time() - 13 * 3600)]
)
def test_who_is_not_signed_in_is_asked_to(
    monkeypatch: pytest.MonkeyPatch, home: Path, user: dict[str, Any]
) -> None:
    shown = draw(monkeypatch, home, user, editors="ann@example.org")
    assert [one.value for one in shown.title] == ["Sign in"]
    assert [one.label for one in shown.button] == ["Sign in"]
    assert not shown.dataframe
    shown = draw(monkeypatch, home, user, editors="ann@example.org", viewers="everyone")
    assert shown.button(key="light").disabled
    assert "Sign in to change anything" in refusals(shown)[0]


def test_a_stranger_sees_nothing(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    shown = draw(monkeypatch, home, signed_in(email="eve@example.net"), viewers="@example.org")
    assert "not among those who may look" in shown.error[0].value
    assert not shown.button
    assert not shown.dataframe


def redrawn(monkeypatch: pytest.MonkeyPatch, app: AppTest) -> AppTest:
    """Draw only the parts of a page that are drawn anew by themselves, as a browser asks for it."""
    parts = list(app._fragment_storage._fragments)
    with monkeypatch.context() as patch:
        patch.setattr(local_script_runner, "RerunData", partial(RerunData, fragment_id_queue=parts))
        app.run()
    assert not app.exception
    return app


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ({"is_logged_in": False}, "Sign in to look"),
        (signed_in(email="ann@example.org", iat=time.time() - 13 * 3600), "Sign in to look"),
        (signed_in(email="eve@example.net"), "not among those who may look"),
    ],
)
def test_what_is_drawn_by_itself_ends_with_the_right_to_look(
    monkeypatch: pytest.MonkeyPatch, home: Path, user: dict[str, Any], words: str
) -> None:
    shown = draw(monkeypatch, home, signed_in(email="ann@example.org"), viewers="@example.org")
    assert not redrawn(monkeypatch, shown).title, "only its parts"
    assert "Done." in shown.code[0].value, "the log of a job"
    shown.user = user
    redrawn(monkeypatch, shown)
    assert words in "".join(one.value for kind in (shown.markdown, shown.error) for one in kind)
    assert not shown.code
    assert not shown.dataframe


def test_every_such_part_asks() -> None:
    files = (ROOT / "forecaster" / "dashboard").glob("*.py")
    assert [file.name for file in files if "st.fragment" in file.read_text(encoding="utf-8")] == ["access.py"]


def test_a_viewer_looks_and_an_editor_changes(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    editors = "ann@example.org"
    viewer = draw(monkeypatch, home, signed_in(email="ben@example.org"), editors=editors)
    assert viewer.button(key="light").disabled
    assert viewer.button(key="full").disabled
    assert "change nothing" in refusals(viewer)[0]
    assert len(viewer.dataframe) == 1
    editor = draw(monkeypatch, home, signed_in(email="ann@example.org"), editors=editors)
    assert not editor.button(key="light").disabled
    unverified = signed_in(email="ann@example.org", email_verified=False)
    assert "not verified" in refusals(draw(monkeypatch, home, unverified, editors=editors))[0]


def test_the_link_says_who_is_signed_in_and_as_what(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    titles = []
    for user in ({"is_logged_in": False}, signed_in(email="ben@example.org"), signed_in(name="Ann")):
        monkeypatch.setenv("FORECASTER_HOME", str(home))
        app = AppTest.from_string("import streamlit as st\nfrom forecaster.dashboard import account\n"
                                  "st.text(account.title())\naccount.page()", default_timeout=60)  # fmt: skip
        app.user = user
        app.run()
        titles.append((app.text[0].value, app.button[0].label))
    assert titles == [
        ("Sign in", "Sign in"),
        ("ben@example.org, viewer", "Sign out"),
        ("Ann, viewer", "Sign out"),
    ]


def block(language: str) -> str:
    (found,) = re.findall(rf"^ *```{language}\n(.*?)^ *```", DOCUMENT, flags=re.DOTALL | re.MULTILINE)
    return found


def test_the_document_s_example_is_a_whole_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("forecaster.toml").write_text(block("toml"))
    for line in block("ini").split():
        monkeypatch.setenv(*line.split("=", 1))
    settings = Settings.load()
    assert settings.public_url == tomllib.loads(block("toml"))["public_url"]
    auth = login.credentials(settings) or {}
    assert auth["redirect_uri"] in DOCUMENT, "as it is to be registered"
    assert login.role({"email": "ann@example.org"}, settings) == "editor"
    assert login.role({"email": "ben@example.org"}, settings) == "viewer"
    assert login.role({"email": "eve@example.net"}, settings) is None


def test_the_document_names_what_there_is() -> None:
    assert not re.search(r"(?<![\w.~])/(home|work|tmp|root|usr|opt)\b", DOCUMENT)
    known = typer.main.get_command(commands).commands
    for line in [*block("sh").strip().splitlines(), *re.findall(r"`(python -m forecaster .*?)`", DOCUMENT)]:
        name, *options = shlex.split(line)[3:]
        known[name].make_context(name, options)
    table = re.findall(r"^\| (`.*?) \|", DOCUMENT, flags=re.MULTILINE)
    named = {name for cell in table for name in re.findall(r"`(\w+)`", cell)} - {"dashboard"}
    assert named == {"editors", "viewers", "role_claim", "editor_role", "login_hours", "require_verified"}
    assert named <= set(Settings.model_fields)
    for server in ("caddy", "nginx"):
        assert f"127.0.0.1:{Settings().port}" in block(server)
