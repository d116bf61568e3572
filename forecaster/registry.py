"""Versions of the model: MLflow holds files and aliases, Delta tables the evidence and decisions.

Only code that trains, promotes or loads a model opens MLflow; the dashboard reads the tables.
"""

import json
import logging
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from forecaster.config import Recipe
from forecaster.decisions import CHALLENGER, CHAMPION, holder
from forecaster.errors import ModelError, NotEarned, StoreError, UsageError
from forecaster.evaluation.backtest import Backtest
from forecaster.evaluation.significance import PairedTest, daily_losses, paired_test
from forecaster.evaluation.verdict import verdict
from forecaster.models import SERVED
from forecaster.store import Store, now

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from forecaster.models.trained import Model

NAME = "forecaster"
PROMOTION_LEVEL = 0.01


class Registry:
    """The models of one workspace.

    Parameters
    ----------
    home : Path
        Holds ``mlflow.db`` and ``artifacts/``.
    store : Store
        Holds the tables backtests and decisions.
    """

    def __init__(self, home: Path, store: Store) -> None:
        self._home = home
        self._artifacts = home / "artifacts"
        self._store = store

    @cached_property
    def _client(self) -> "MlflowClient":
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        # MLflow sets its loggers up when it is imported.
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        try:
            self._home.mkdir(parents=True, exist_ok=True)
            client = MlflowClient(f"sqlite:///{(self._home / 'mlflow.db').resolve()}")
            if client.get_experiment_by_name(NAME) is None:
                client.create_experiment(
                    NAME, artifact_location=(self._home / "artifacts").resolve().as_uri()
                )
            if not client.search_registered_models(f"name = '{NAME}'"):
                client.create_registered_model(NAME)
        except (OSError, MlflowException, SQLAlchemyError) as error:
            reason = str(error).splitlines()[0]
            raise StoreError(
                f"The model registry {self._home / 'mlflow.db'} cannot be opened ({reason}); "
                f"restore it from a backup, or choose another folder with --home"
            ) from error
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
        client = self._client
        (experiment,) = client.search_experiments(filter_string=f"name = '{NAME}'")
        run = client.create_run(experiment.experiment_id, tags={"recipe": model.recipe.hash})
        # Beside the home's other files and not where MLflow would put them: a workspace may be moved.
        folder = self._artifacts / run.info.run_id
        model.save(folder)
        for row in backtest.scores().to_dict("records"):
            for metric in ("log_score", "crps", "coverage_90"):
                client.log_metric(run.info.run_id, f"{row['model']}/{metric}", row[metric], step=row["step"])
        client.set_terminated(run.info.run_id)
        entry = client.create_model_version(NAME, folder.resolve().as_uri(), run.info.run_id)
        version = str(entry.version)
        moment = now()
        self._store.append("backtests", backtest.forecasts.assign(version=version, recorded_at=moment))
        self._store.append("scores", backtest.scores().assign(version=version, recorded_at=moment))
        card = json.dumps(model.card)
        self._decide(version, CHALLENGER, "registered with its backtest", backtest.verdict(), card)
        return version

    def promote(self, version: str | None = None) -> str:
        """Make a version the champion, whose forecasts are served.

        The first champion takes the empty place, with its verdict shown whatever it says. After
        that a version must have a lower mean log score than the champion at one session ahead, one-sided
        Diebold-Mariano p < .01 on the dates that both were tested on.

        Parameters
        ----------
        version : str, optional
            Default: the challenger.

        Returns
        -------
        str
            The reason, as written into the decisions table.

        Raises
        ------
        NotEarned
            If the evidence does not allow it; says why.
        """
        chosen = version or holder(self._store, CHALLENGER)
        if chosen is None:
            raise ModelError("No challenger to promote; train one: python -m forecaster train")
        evidence = self._store.rows("backtests", where={"version": [chosen]})
        if evidence.empty:
            raise NotEarned(f"Version {chosen} has no backtest; nothing speaks for it")
        champion = holder(self._store, CHAMPION)
        if champion == chosen:
            return f"version {chosen} is the champion already"
        if champion is None:
            reason = "first champion: there was none"
        else:
            reason = _earned(
                chosen, evidence, champion, self._store.rows("backtests", where={"version": [champion]})
            )
        self._decide(chosen, CHAMPION, reason, verdict(self.scores(chosen)), self.card(chosen))
        return reason

    def card(self, version: str) -> str:
        """Return a version's card as JSON text.

        Raises
        ------
        UsageError
            For an unknown version; lists the known ones.
        """
        rows = self._store.rows("decisions")
        mine = rows[rows["version"] == version]
        if mine.empty:
            known = ", ".join(sorted(rows["version"].unique(), key=int)) or "none"
            raise UsageError(f"No model version {version!r}; choose one of: {known}")
        return str(mine["card"].iloc[0])

    def scores(self, version: str) -> pd.DataFrame:
        """Return the score table of a version's backtest."""
        return self._store.current("scores", where={"version": [version]})

    def load(self, version: str | None = None) -> tuple[str, "Model"]:
        """Load a version's model (default: the champion's) with its version.

        Raises
        ------
        ModelError
            If there is none, or its files are damaged.
        """
        from mlflow.exceptions import MlflowException

        from forecaster.models.trained import Model

        chosen = version or holder(self._store, CHAMPION)
        if chosen is None:
            raise ModelError("No model yet; make one: python -m forecaster quickstart, or train")
        try:
            run = str(self._client.get_model_version(NAME, chosen).run_id)
        except MlflowException as error:
            raise ModelError(
                f"The registry has no model version {chosen!r}; see: python -m forecaster models list"
            ) from error
        return chosen, Model.load(self._artifacts / run)

    def _decide(self, version: str, alias: str, reason: str, words: str, card: str) -> None:
        row = {"version": version, "alias": alias, "reason": reason, "verdict": words, "card": card}
        # The table decides; MLflow's alias follows it for those who look there.
        self._store.append("decisions", pd.DataFrame([row | {"decided_at": now()}]))
        self._client.set_registered_model_alias(NAME, alias, version)


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


def _earned(chosen: str, evidence: pd.DataFrame, champion: str, rival: pd.DataFrame) -> str:
    test = _compare(evidence, rival)
    facts = f"{-test.difference:+.4f} nats on {test.dates} common dates"
    if np.isnan(test.p_value):
        raise NotEarned(f"Version {chosen} cannot be compared with champion {champion}: {facts} are too few")
    one_sided = test.p_value / 2 if test.difference < 0 else 1 - test.p_value / 2
    facts += f", one-sided p = {one_sided:.3f}"
    if one_sided >= PROMOTION_LEVEL:
        raise NotEarned(f"Version {chosen} does not beat champion {champion} ({facts}; p < .01 is asked for)")
    return f"beats champion {champion}: {facts}"


def _compare(evidence: pd.DataFrame, rival: pd.DataFrame) -> PairedTest:
    first = pd.concat(
        [
            rows[(rows["model"] == SERVED) & (rows["step"] == 1)].assign(model=name)
            for name, rows in (("challenger", evidence), ("champion", rival))
        ]
    )
    losses = daily_losses(first, "log_score")
    return paired_test(losses["challenger"].to_numpy(), losses["champion"].to_numpy(), horizon=1)
