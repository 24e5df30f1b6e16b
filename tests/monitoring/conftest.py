"""What production saw: the months after the training, answered by a model of five months."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.artifacts.reference import Reference
from pipelines.base.files import write_bytes
from pipelines.core import periods
from pipelines.core.model import Model
from pipelines.core.params import Params
from pipelines.core.tasks.binary import BINARY
from pipelines.host import host as hosts
from pipelines.monitoring import labels, replay
from pipelines.training import prepare, reference, table, train
from tests.months import write_month
from tests.problems.parcels import PARAMS, PROBLEM, source
from tests.problems.parcels.columns import CONTRACT

REPOSITORY = Path(__file__).parents[2]
SEEN = ("2013-07", "2013-08", "2013-09", "2013-10")


@dataclass(frozen=True)
class Production:
    """A host's home with labels and predictions of SEEN, and what the champion was trained on."""

    home: Path
    params: Params

    @cached_property
    def log(self) -> labels.Log:
        return labels.predictions(
            hosts.place(self.home, "production", CONTRACT.name) / "predictions", CONTRACT
        )

    @cached_property
    def known(self) -> Reference:
        return Reference.read(self.home)

    @cached_property
    def _events(self) -> dict[str, pd.DataFrame | None]:
        return {month: labels.events(self.home / "labels", month, PROBLEM) for month in SEEN}

    def events(self, month: str) -> pd.DataFrame:
        found = self._events[month]
        assert found is not None
        return found


@pytest.fixture(scope="session")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    wanted = PARAMS
    home = tmp_path_factory.mktemp("home")
    raw = pd.concat(
        [source.read(month) for month in periods.between("2013-01", "2013-05")], ignore_index=True
    )
    prepared = prepare.prepare(raw, PROBLEM)
    known = reference.build(wanted, table.training(wanted, prepared, CONTRACT), _by_hour, CONTRACT)
    known.write(home)
    model = Model(write_bytes(home / "model.onnx", train.fit(wanted, prepared, PROBLEM)), BINARY)
    for month in SEEN:
        write_month(home / "labels", month, source.read(month))
        sent = replay.events(month, PROBLEM)
        lines = log_lines(sent, model.predict_rows(CONTRACT.features, sent), month)
        write_bytes(
            hosts.place(home, "production", CONTRACT.name) / f"predictions/{month}.blue.1.jsonl", lines
        )
    yield Production(home, wanted)


def log_lines(rows: list[dict[str, Any]], p: np.ndarray, month: str, release: str = "r1") -> bytes:
    """What the service writes for these rows."""
    return b"".join(
        json.dumps(
            {
                "time": f"{month}-28T00:00:{number % 60:02}.000+00:00",
                "request": "a",
                "row": number,
                "release": release,
                "features": {column.name: row[column.name] for column in CONTRACT.loggable},
                "key": row[CONTRACT.key.name],
                "p": float(value),
            }
        ).encode()
        + b"\n"
        for number, (row, value) in enumerate(zip(rows, p, strict=True))
    )


def _by_hour(params: Params, past: pd.DataFrame, month: pd.DataFrame) -> np.ndarray:
    """A model for the rolling origin that costs no fit: the label rate at that hour of the day."""
    rate = past.groupby(past[CONTRACT.time.name].dt.hour)[CONTRACT.label.name].mean().astype(float)
    return month[CONTRACT.time.name].dt.hour.map(rate).fillna(rate.mean()).to_numpy(dtype=float)
