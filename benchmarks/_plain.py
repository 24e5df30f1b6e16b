"""What `benchmarks.serving` compares with: FastAPI, joblib and pandas, put together as tutorials do it."""

import os
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel, create_model

from pipelines.core.contract import Column
from pipelines.problem.columns import CONTRACT

MODEL = Path(os.environ["BENCH_MODEL"])
THRESHOLD = 0.25

app = FastAPI()
model = joblib.load(MODEL)


def field(column: Column) -> Any:
    kind = str if column.type == "category" else float
    return (kind | None, None) if column.missing else (kind, ...)


Row: Any = create_model("Row", **{column.name: field(column) for column in CONTRACT.features})


class Request(BaseModel):
    rows: list[Row]


@app.get("/ping")
def ping() -> str:
    return "ok"


@app.post("/predict")
async def predict(request: Request) -> dict[str, Any]:  # a plain `def` runs in threads, a third slower
    frame = pd.DataFrame([row.model_dump() for row in request.rows])
    p = model.predict_proba(frame)[:, 1]
    return {"predictions": [{"p": float(value), "act": bool(value >= THRESHOLD)} for value in p]}
