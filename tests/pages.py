"""Pages of the dashboard, each run by itself by Streamlit's AppTest."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest


def run(monkeypatch: pytest.MonkeyPatch, home: Path, path: str, **query: str | list[str]) -> AppTest:
    """Run the page at a path on a workspace; of the names in its query an underscore becomes a hyphen."""
    monkeypatch.setenv("FORECASTER_HOME", str(home))
    script = f"from forecaster.dashboard import PAGES, guarded\nguarded(PAGES[{path!r}][2])()"
    app = AppTest.from_string(script, default_timeout=120)
    for name, value in query.items():
        app.query_params[name.replace("_", "-")] = value
    app.run()
    assert not app.exception
    return app


def draw(monkeypatch: pytest.MonkeyPatch, home: Path, path: str, **query: str | list[str]) -> AppTest:
    """Run a page that has no error to tell of."""
    return checked(run(monkeypatch, home, path, **query))


def checked(app: AppTest) -> AppTest:
    assert not app.exception
    assert not app.error
    return app


def words(app: AppTest) -> str:
    """Return what stands on a page, without the backslashes that keep it from being markup."""
    kinds = (
        app.title, app.subheader, app.markdown, app.caption, app.info, app.success, app.warning, app.error,
        app.code,
    )  # fmt: skip
    return "\n".join(str(one.value) for kind in kinds for one in kind).replace("\\", "")
