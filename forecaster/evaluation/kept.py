"""Where a walk-forward run keeps its tables: in memory, or in a folder that it can go on from."""

import json
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd

from forecaster.errors import StoreError, UsageError

RUN = "run.json"


class Part(NamedTuple):
    """One fit's share of the long table: a model at a fold, of one random start where it has several."""

    model: str
    fold: int
    seed: int | None = None


class Kept(Protocol):
    """Tables by part."""

    def __contains__(self, part: Part) -> bool: ...

    def put(self, part: Part, table: pd.DataFrame) -> None:
        """Keep a part's table."""

    def get(self, part: Part) -> pd.DataFrame:
        """Return a part's table."""


class InMemory(dict[Part, pd.DataFrame]):
    """Tables that end with the process."""

    def put(self, part: Part, table: pd.DataFrame) -> None:
        self[part] = table

    def get(self, part: Part) -> pd.DataFrame:  # type: ignore[override]
        return self[part]


class InFolder:
    """Parquet files in single precision, one per part, by model.

    Parameters
    ----------
    folder : Path
        Made if need be. ``forecasts/`` holds the models, ``seeds/`` the single random starts.
    run : dict
        JSON-ready values that name the run: data, recipe, plan. A folder goes on with its own run only.

    Raises
    ------
    UsageError
        If the folder holds another run.
    StoreError
        If it cannot be written.
    """

    def __init__(self, folder: Path, run: dict[str, Any]) -> None:
        self._folder = folder
        told = folder / RUN
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if told.exists():
                self._require_same(json.loads(told.read_text(encoding="utf-8")), run)
            else:
                unfinished = folder / f".{RUN}"
                unfinished.write_text(json.dumps(run, indent=2), encoding="utf-8")
                unfinished.replace(told)
        except (OSError, ValueError) as error:
            raise StoreError(
                f"{folder} cannot be used ({error}); remove what lies there or choose another --out"
            ) from error

    def __contains__(self, part: Part) -> bool:
        return self._path(part).exists()

    def put(self, part: Part, table: pd.DataFrame) -> None:
        path = self._path(part)
        numbers = table.select_dtypes(np.float64).columns
        slim = table.drop(columns="model").astype(dict.fromkeys(numbers, np.float32))
        path.parent.mkdir(parents=True, exist_ok=True)
        # Readers of the folder pass names with a leading dot over.
        unfinished = path.with_name(f".{path.name}")
        slim.to_parquet(unfinished, index=False)
        # Whole or not at all: a killed run leaves no half file that a later one would take.
        unfinished.replace(path)

    def get(self, part: Part) -> pd.DataFrame:
        return pd.read_parquet(self._path(part)).assign(model=part.model)

    def _path(self, part: Part) -> Path:
        model, file = f"model={part.model}", f"fold-{part.fold:03d}.parquet"
        if part.seed is None:
            return self._folder / "forecasts" / model / file
        return self._folder / "seeds" / model / f"seed={part.seed}" / file

    def _require_same(self, there: dict[str, Any], run: dict[str, Any]) -> None:
        other = [name for name in run if there.get(name) != run[name]]
        if other:
            raise UsageError(
                f"{self._folder} holds another run: another {', '.join(other)}; "
                f"choose another --out, or remove the folder to begin anew"
            )
