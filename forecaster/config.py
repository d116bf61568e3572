"""Settings (where things are, how the service behaves) and Recipe (what is trained)."""

import hashlib
import re
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from forecaster.errors import UsageError, first_problem

Cell = Literal["rnn", "lstm", "gru"]
Beside = Literal["ewma_t", "gjr_t", "harx"]
Group = Literal["trend", "previous_day", "exogenous"]
SourceName = Literal["auto", "yahoo", "tiingo", "sample"]

GROUPS: tuple[Group, ...] = ("trend", "previous_day", "exogenous")

SIGNED_IN, EVERYONE = "signed in", "everyone"
"""Words that stand for people in `editors` and `viewers`."""


class Settings(BaseSettings):
    """Settings from ``forecaster.toml`` and ``FORECASTER_*`` variables; variables win.

    Attributes
    ----------
    home : Path
        Folder of the workspace: store, registry, artefacts.
    source : str
        Where prices come from when the caller does not say.
    watchlist : tuple of str
        Symbols of a new workspace that is filled from the live source; in a variable separated by commas.
    probe_seconds : float
        How long the quickstart waits for the live source before it takes the sample.
    bar_delay_minutes : int
        A session's bar counts as final this long after the exchange's close.
    requests_per_second : float
        How often a live source is asked in the long run.
    event_sources : tuple of str
        Where company events of live prices come from: yahoo (results and announced dates), news, filings;
        in a variable separated by commas; empty for none.
    contact : str
        E-mail address that the SEC asks for with each request; without one its filings are not read.
    start : str
        First session to ask a live source for.
    run_delay_minutes : int
        A scheduled run comes this long after the exchange's close: data may be late.
    full_every : int
        Sessions from one full run, which trains, to the next; the runs between them are light.
    trial_sessions : int
        Last sessions that the training of newer weights leaves out, to be judged on.
    stale_data, most_data : int
        Complete sessions that may be missing before forecasts are marked as stale; before none are given.
    stale_model, most_model : int
        Sessions that may have been stored since the champion's training, likewise.
    on_failure : str
        Command that is run when a run has failed; it finds what happened in ``FORECASTER_FAILURE``.
    webhook : str
        Address that is sent a JSON message when a run has failed.
    address, port : str, int
        Where the dashboard listens; an address that other machines reach needs a login (docs/login.md).
    public_url : str
        What visitors type to reach the dashboard, such as ``https://forecasts.example.org``.
    oidc_metadata_url, oidc_client_id : str
        Discovery document of the OpenID provider; the name under which it knows the dashboard. Its
        secret is the variable ``FORECASTER_OIDC_CLIENT_SECRET``.
    editors : tuple of str
        Who may change something once a login is set up: e-mail addresses, domains such as
        ``@example.org``, or the words ``signed in``; in a variable separated by commas.
    viewers : tuple of str
        Who else may look; likewise, or ``everyone``.
    role_claim, editor_role : str
        A claim of the provider, and the value in it that makes an editor.
    login_hours : float
        A sign-in holds so long.
    require_verified : bool
        Whether an e-mail address counts only if the provider says that it has verified it; otherwise it
        also counts where the provider does not say.
    """

    model_config = SettingsConfigDict(env_prefix="FORECASTER_", toml_file="forecaster.toml", extra="forbid")

    home: Path = Path("data")
    source: SourceName = "auto"
    watchlist: Annotated[tuple[str, ...], NoDecode] = (
        "AAPL", "AMZN", "GOOG", "IBM", "JNJ", "JPM", "KO", "META", "MSFT", "NFLX", "NVDA", "XOM",
    )  # fmt: skip
    probe_seconds: float = Field(default=6.0, gt=0)
    bar_delay_minutes: int = Field(default=30, ge=0)
    requests_per_second: float = Field(default=0.5, gt=0)
    event_sources: Annotated[tuple[str, ...], NoDecode] = ("yahoo", "news", "filings")
    contact: str = ""
    start: str = "2010-01-01"
    run_delay_minutes: int = Field(default=90, ge=0)
    full_every: int = Field(default=5, ge=1)
    trial_sessions: int = Field(default=42, ge=31)
    stale_data: int = Field(default=1, ge=0)
    most_data: int = Field(default=10, ge=1)
    stale_model: int = Field(default=126, ge=1)
    most_model: int = Field(default=504, ge=1)
    on_failure: str = ""
    webhook: str = ""
    address: str = "127.0.0.1"
    port: int = Field(default=8501, ge=1, le=65535)
    public_url: str = ""
    oidc_metadata_url: str = ""
    oidc_client_id: str = ""
    editors: Annotated[tuple[str, ...], NoDecode] = ()
    viewers: Annotated[tuple[str, ...], NoDecode] = (SIGNED_IN,)
    role_claim: str = ""
    editor_role: str = ""
    login_hours: float = Field(default=12.0, gt=0)
    require_verified: bool = False

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Read the settings; ``None`` among `overrides` means "not given".

        Raises
        ------
        UsageError
            If a value does not fit; the message names the setting.
        """
        given = {name: value for name, value in overrides.items() if value is not None}
        try:
            return cls(**given)
        except ValidationError as error:
            raise UsageError(f"Settings: {first_problem(error)}") from error
        except (SettingsError, TOMLDecodeError) as error:
            raise UsageError(f"Settings cannot be read: {error}; see forecaster/config.py") from error

    @model_validator(mode="after")
    def _limits_in_order(self) -> Self:
        for stale, most in (("stale_data", "most_data"), ("stale_model", "most_model")):
            if getattr(self, stale) >= getattr(self, most):
                raise ValueError(f"expected {stale} below {most}")
        return self

    @model_validator(mode="after")
    def _roles_whole(self) -> Self:
        if bool(self.role_claim) != bool(self.editor_role):
            raise ValueError("expected role_claim and editor_role together")
        return self

    @field_validator("editors", "viewers")
    @classmethod
    def _people(cls, names: tuple[str, ...], field: ValidationInfo) -> tuple[str, ...]:
        words = (SIGNED_IN, EVERYONE) if field.field_name == "viewers" else (SIGNED_IN,)
        for name in names:
            if name not in words and not re.fullmatch(r"[^@\s]*@[^@\s]+", name):
                raise ValueError(
                    f"expected e-mail addresses, @domains or {' or '.join(words)!r}, got {name!r}"
                )
        return tuple(name.lower() for name in names)

    @field_validator("watchlist", "event_sources", "editors", "viewers", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(",") if part.strip())


class Recipe(BaseModel):
    """What is trained; frozen, and its hash names it.

    Attributes
    ----------
    cells : tuple of {"rnn", "lstm", "gru"}
        Kinds of recurrent layer; the served forecast pools them all.
    lookback : int
        Sessions that a window reads, the cutoff session included.
    horizon : int
        Sessions ahead; every step 1..horizon is forecast directly.
    groups : tuple of {"trend", "previous_day", "exogenous"}
        Input groups that the networks may see.
    units : int
        Width of the recurrent layer.
    seeds : int
        Networks of each kind, started from different random weights and pooled.
    epochs, patience : int
        Upper bound of passes over the data, and how many without gain on the
        validation sessions end the training.
    batch : int
        Segments in a gradient step.
    stride : int
        Labelled steps of a training segment, after its `lookback` - 1 burn-in steps.
    learning_rate, dropout : float
        Of the Adam optimiser; of the recurrent layer's output.
    validation : float
        Last share of the training sessions, held back to choose the epoch.
    linear_part : bool
        Whether a network rests on a linear part fitted by likelihood and learns corrections to it.
    surprise : bool
        Whether the networks read how the stock has moved of late against a linear model's forecasts.
    own_memory : bool
        Whether the recurrent layer reads the stock's own inputs only, and what all stocks share
        (market, volatility index, rates, sectors) is left to the linear part.
    crps : float
        Weight of the CRPS, in volatilities of the step, beside the log score in the loss.
    decay : float
        L2 charge on what a network adds to the linear part.
    response : bool
        Whether the networks' state may change what an announced date or the calendar means.
    shrink : bool
        Whether what a network adds is cut to the share of it that is worth most on the sessions held back.
    beside : tuple of {"ewma_t", "gjr_t", "harx"}
        Classical models that the served forecast pools the networks with; may be empty.
    learned_weights : bool
        Whether the weights of that pool are learned on past forecasts, or all are equal.
    calibrated : bool
        Whether the served width follows how past forecasts turned out (`models.calibrate`).
    abstain : bool
        Whether forecasts from inputs far outside the training are marked as of low confidence.
    universe : tuple of str
        Symbols to train on and to take the cross-section mean over; empty: all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cells: tuple[Cell, ...] = ("lstm", "gru")
    lookback: int = Field(default=64, ge=2, le=512)
    horizon: int = Field(default=20, ge=1, le=60)
    groups: tuple[Group, ...] = GROUPS
    units: int = Field(default=32, ge=1, le=512)
    seeds: int = Field(default=2, ge=1, le=50)
    epochs: int = Field(default=40, ge=1)
    patience: int = Field(default=5, ge=1)
    batch: int = Field(default=16, ge=1)
    stride: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    validation: float = Field(default=0.15, gt=0, lt=0.5)
    linear_part: bool = True
    surprise: bool = True
    own_memory: bool = True
    crps: float = Field(default=0.0, ge=0)
    decay: float = Field(default=0.0, ge=0)
    response: bool = False
    shrink: bool = True
    beside: tuple[Beside, ...] = ("harx",)
    learned_weights: bool = True
    calibrated: bool = True
    abstain: bool = True
    universe: tuple[str, ...] = ()

    @field_validator("cells", "groups", "beside")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) != len(names):
            raise ValueError("expected at least one name, none twice")
        return names

    @field_validator("cells", "groups")
    @classmethod
    def _some(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names:
            raise ValueError("expected at least one name, none twice")
        return names

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise UsageError(f"Recipe: {first_problem(error)}") from error

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that name this recipe."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    def but(self, **changes: Any) -> "Recipe":
        """Return this recipe with some values changed, validated again."""
        return Recipe(**{**self.model_dump(), **changes})
