"""Versions of the model: MLflow holds files and aliases, Delta tables the evidence and decisions.

Only code that trains, promotes or loads a model opens MLflow; the dashboard reads the tables.
"""

import hashlib
import json
import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from forecaster import promotion
from forecaster.config import Recipe
from forecaster.decisions import (
    CHALLENGER,
    CHAMPION,
    REFUSED,
    card_of,
    decisions,
    holder,
    predecessor,
)
from forecaster.errors import ModelError, NotEarned, StoreError, UsageError
from forecaster.evaluation.backtest import Backtest
from forecaster.evaluation.verdict import verdict
from forecaster.promotion import Ruling
from forecaster.store import Clock, Store, now

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from forecaster.models.trained import Model

NAME = "forecaster"

_LOGGER = logging.getLogger(__name__)


class Registry:
    """The models of one workspace.

    Parameters
    ----------
    home : Path
        Holds ``mlflow.db`` and ``artifacts/``.
    store : Store
        Holds the tables backtests and decisions.
    clock : callable
        Tells the present moment, in UTC.
    """

    def __init__(self, home: Path, store: Store, clock: Clock = now) -> None:
        self._home = home
        self._artifacts = home / "artifacts"
        self._store = store
        self._clock = clock

    @contextmanager
    def _open(self) -> "Iterator[MlflowClient]":
        """Open MLflow; what it cannot do is a StoreError."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield self._client
        except (OSError, MlflowException, SQLAlchemyError) as error:
            reason = str(error).splitlines()[0]
            raise StoreError(
                f"The model registry {self._home / 'mlflow.db'} cannot be opened or written ({reason}); "
                f"try again, restore it from a backup, or choose another folder with --home"
            ) from error

    @cached_property
    def _client(self) -> "MlflowClient":
        from mlflow import MlflowClient

        # MLflow sets its loggers up when it is imported.
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        self._home.mkdir(parents=True, exist_ok=True)
        client = MlflowClient(f"sqlite:///{(self._home / 'mlflow.db').resolve()}")
        if client.get_experiment_by_name(NAME) is None:
            client.create_experiment(NAME, artifact_location=(self._home / "artifacts").resolve().as_uri())
        if not client.search_registered_models(f"name = '{NAME}'"):
            client.create_registered_model(NAME)
        return client

    def add(self, model: "Model", backtest: Backtest) -> str:
        """Register a model with the evidence for it, as the challenger.

        Returns
        -------
        str
            Its version.

        Raises
        ------
        ModelError
            If the backtest is of another recipe or of other data.
        """
        require_same(backtest, model.recipe, model.card["fingerprint"])
        with self._open() as client:
            run, version = self._register(client, model, backtest)
        moment = self._clock()
        self._store.append("backtests", backtest.forecasts.assign(version=version, recorded_at=moment))
        self._store.append("scores", backtest.scores().assign(version=version, recorded_at=moment))
        # The run names the folder: who loads a version need not open MLflow.
        place: dict[str, Any] = {"run": run, "files": _digests(self._artifacts / run)}
        place |= {"refits": [str(one) for one in backtest.refits], "plan": backtest.plan.as_json()}
        self._decide(version, CHALLENGER, "registered with its backtest", {}, json.dumps(model.card | place))
        return version

    def _register(self, client: "MlflowClient", model: "Model", backtest: Backtest) -> tuple[str, str]:
        """Save a model beside a new run of MLflow; returns the run and the version."""
        (experiment,) = client.search_experiments(filter_string=f"name = '{NAME}'")
        run = client.create_run(experiment.experiment_id, tags={"recipe": model.recipe.hash})
        # Beside the home's other files and not where MLflow would put them: a workspace may be moved.
        folder = self._artifacts / run.info.run_id
        model.save(folder)
        for row in backtest.scores().to_dict("records"):
            for metric in ("log_score", "crps", "coverage_90"):
                client.log_metric(run.info.run_id, f"{row['model']}/{metric}", row[metric], step=row["step"])
        client.set_terminated(run.info.run_id)
        known = set(decisions(self._store)["version"])
        while True:
            # A database that was restored from a backup counts from there: no number is given twice.
            entry = client.create_model_version(NAME, folder.resolve().as_uri(), run.info.run_id)
            if str(entry.version) not in known:
                return run.info.run_id, str(entry.version)

    def promote(
        self,
        version: str | None = None,
        rival: Backtest | None = None,
        trial: pd.DataFrame | None = None,
        unusable: str = "",
    ) -> str:
        """Make a version the champion, whose forecasts are served.

        The first champion takes the empty place, with its verdict shown whatever it says, and so does the
        successor of one that cannot be used any more. After that the rules of `promotion` hold. What was
        decided is written down with its evidence, a refusal likewise.

        Parameters
        ----------
        version : str, optional
            Default: the challenger.
        rival : Backtest, optional
            Of the champion's recipe over the folds of the version's own backtest. Default: the one that the
            champion was registered with, if it is over these folds.
        trial : DataFrame, optional
            For newer weights of the champion's recipe: forecasts of both on sessions that neither has
            seen; see `promotion.refit`. Without it they are judged like a changed recipe.
        unusable : str
            Why the present champion cannot forecast at all; empty if it can.

        Returns
        -------
        str
            The reason, as written into the decisions table.

        Raises
        ------
        NotEarned
            If the evidence does not allow it; says why.
        ModelError
            If there is no such version.
        """
        chosen = version or holder(self._store, CHALLENGER)
        if chosen is None:
            raise ModelError("No challenger to promote; train one: python -m forecaster train")
        card = self._card(chosen)
        champion = holder(self._store, CHAMPION)
        if champion == chosen:
            return "it is the champion already"
        evidence = self._backtest(chosen)
        if evidence.empty:
            ruling = Ruling(False, "it has no backtest; nothing speaks for it", {"rule": "no backtest"})
        elif champion is None:
            ruling = Ruling(True, "first champion: there was none", {"rule": "first champion"})
        elif unusable:
            reason = f"champion {champion} cannot be used: {unusable}"
            ruling = Ruling(True, reason, {"rule": "unusable champion"})
        else:
            ruling = self._ruling(chosen, evidence, champion, rival, trial)
        alias = CHAMPION if ruling.promoted else REFUSED
        self._decide(chosen, alias, ruling.reason, ruling.evidence | {"champion": champion}, card)
        if not ruling.promoted:
            against = f" against champion {champion}" if champion else ""
            raise NotEarned(f"Version {chosen}{against}: {ruling.reason}")
        return ruling.reason

    def rollback(self) -> tuple[str, str]:
        """Make that version the champion again which was it before the present one.

        Returns
        -------
        tuple of str
            The version, and the reason as written into the decisions table.

        Raises
        ------
        ModelError
            If there was none, or its files are damaged.
        """
        present = holder(self._store, CHAMPION)
        if present is None:
            raise ModelError("No champion to roll back; make one: python -m forecaster quickstart, or train")
        before = predecessor(decisions(self._store))
        if before is None:
            raise ModelError(f"Version {present} was the first champion; there is none to roll back to")
        self.load(before)[1].require_inputs()
        reason = f"rolled back from version {present}"
        evidence = {"rule": promotion.ROLLBACK, "champion": present}
        self._decide(before, CHAMPION, reason, evidence, self.card(before))
        return before, reason

    def _ruling(
        self,
        chosen: str,
        evidence: pd.DataFrame,
        champion: str,
        rival: Backtest | None,
        trial: pd.DataFrame | None,
    ) -> Ruling:
        mine, theirs = (json.loads(self.card(one)) for one in (chosen, champion))
        if trial is not None:
            recipes = [Recipe(**card["recipe"]) for card in (mine, theirs)]
            if recipes[0] != recipes[1]:
                raise ModelError(
                    f"A trial judges newer weights of the champion's recipe {recipes[1].hash}; version "
                    f"{chosen} is of recipe {recipes[0].hash}: give a backtest of the champion's recipe"
                )
            return promotion.refit(trial, promotion.given_away(decisions(self._store)))
        if rival is not None:
            require_same(rival, Recipe(**theirs["recipe"]), mine["fingerprint"])
            rows, folds = rival.forecasts, [str(session) for session in rival.refits]
        else:
            rows, folds = self._backtest(champion), theirs.get("refits")
        is_same_data = rival is not None or mine["fingerprint"] == theirs["fingerprint"]
        # Versions of earlier programs do not tell their folds.
        if "refits" not in mine or mine["refits"] != folds or not is_same_data:
            reason = (
                f"it was tested on other data or folds than champion {champion}; "
                f"have both refitted on the same: python -m forecaster retrain --full"
            )
            return Ruling(False, reason, {"rule": "other data or folds"})
        return promotion.changed_recipe(evidence, rows)

    def _backtest(self, version: str) -> pd.DataFrame:
        return self._store.rows("backtests", where={"version": [version]})

    def card(self, version: str) -> str:
        """Return a version's card as JSON text; see `decisions.card_of`."""
        return card_of(self._store, version)

    def scores(self, version: str) -> pd.DataFrame:
        """Return the score table of a version's backtest."""
        return self._store.current("scores", where={"version": [version]})

    def load(self, version: str | None = None, keras: bool = False) -> tuple[str, "Model"]:
        """Load a version's model (default: the champion's) with its version.

        Parameters
        ----------
        keras : bool
            Whether to load the networks as Keras models; see `Model.load`.

        Raises
        ------
        ModelError
            If there is none, or its files are damaged.
        """
        from forecaster.models.trained import Model

        chosen = version or holder(self._store, CHAMPION)
        if chosen is None:
            raise ModelError("No model yet; make one: python -m forecaster quickstart, or train")
        return chosen, Model.load(self._folder(chosen), keras)

    def files(self, version: str) -> dict[str, bytes]:
        """Read the files of a version's model, by name, as they were registered.

        Raises
        ------
        ModelError
            If there is no such version, or its files are damaged.
        """
        return {file.name: file.read_bytes() for file in sorted(self._folder(version).iterdir())}

    def _card(self, version: str) -> str:
        try:
            return self.card(version)
        except UsageError as error:
            raise ModelError(
                f"The registry has no model version {version!r}; see: python -m forecaster models list"
            ) from error

    def _folder(self, version: str) -> Path:
        """Find the folder of a version's model, with the files that were written."""
        run = json.loads(self._card(version)).get("run")
        if run is None:
            raise ModelError(
                f"Version {version} was registered before models had a serving form; train again: "
                f"python -m forecaster train"
            )
        self._require_undamaged(version, self._artifacts / run)
        return self._artifacts / run

    def _require_undamaged(self, version: str, folder: Path) -> None:
        """Check that a version's files are those that were written."""
        if not self._artifacts.is_dir():
            raise StoreError(
                f"{self._artifacts}, the folder of the models, is gone; bring it back, or choose --home"
            )
        told = json.loads(self.card(version))["files"]
        try:
            found = _digests(folder)
        except OSError as error:
            raise StoreError(
                f"The models in {self._artifacts} cannot be read ({error.strerror}); check its permissions"
            ) from error
        if other := sorted(name for name in told if found.get(name) != told[name]):
            raise ModelError(
                f"The files of model version {version} are damaged or missing: {', '.join(other)}; "
                f"train again: python -m forecaster retrain"
            )

    def _decide(self, version: str, alias: str, reason: str, evidence: dict[str, Any], card: str) -> None:
        row = {
            "version": version,
            "alias": alias,
            "reason": reason,
            "verdict": verdict(self.scores(version)),
            "card": card,
            "decided_at": self._clock(),
            "evidence": json.dumps({name: _finite(value) for name, value in evidence.items()}),
        }
        self._store.append("decisions", pd.DataFrame([row]))
        # The table decides; MLflow's aliases follow it for those who look there, late ones as well.
        try:
            with self._open() as client:
                for name in (CHAMPION, CHALLENGER):
                    if one := holder(self._store, name):
                        client.set_registered_model_alias(NAME, name, one)
        except StoreError as failure:
            _LOGGER.warning("The decision stands; its alias in MLflow comes with the next one. %s", failure)


def require_same(backtest: Backtest, recipe: Recipe, fingerprint: str) -> None:
    """Check that a backtest is of a recipe and of data.

    Raises
    ------
    ModelError
        If it is of others.
    """
    if backtest.recipe.hash != recipe.hash:
        raise ModelError(
            f"The backtest is of recipe {backtest.recipe.hash}, the model of {recipe.hash}; "
            f"run the backtest with the model's own recipe"
        )
    if backtest.fingerprint != fingerprint:
        raise ModelError(
            f"The backtest read data {backtest.fingerprint}, the model {fingerprint}; "
            f"run both on the same history"
        )


def _digests(folder: Path) -> dict[str, str]:
    """Name the content of every file of a folder."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _finite(value: Any) -> Any:
    """Return a value as JSON can hold it: null for what could not be computed."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
