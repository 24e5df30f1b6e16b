"""A text whose words the model counts: one spelling everywhere, and ONNX that counts as sklearn does."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from pipelines.base.errors import UserError
from pipelines.core import coercion, tables, tasks, words
from pipelines.core.contract import Column, Contract, Decision
from pipelines.core.model import Model, encode
from pipelines.core.params import Params
from pipelines.judge import onnx
from pipelines.judge import rows as judged
from pipelines.judge.rules import leaks
from pipelines.serving.request import Reader
from pipelines.training import evaluate, train
from tests.problems.parcels import PROBLEM as PARCELS

NOTE = Column("note", "words", "what the sender says", known_at=0.0, missing=0.5)
CONTRACT = Contract(
    name="parcel",
    event="a parcel",
    horizon=0.0,
    decision=Decision("it is late", "warn", "warned in vain", "not warned"),
    columns=(
        Column("id", "text", "number", known_at=0.0, key=True),
        Column("time", "time", "when it leaves", known_at=0.0, time=True),
        NOTE,
        Column("kind", "category", "of parcel", known_at=0.0),
        Column("weight", "number", "of it", known_at=0.0, unit="kg"),
        Column("late", "flag", "came late", label=True),
    ),
)
SAID = ["fragile", "straße", "größe", "42", "handle", "with", "care", "again"]
RIGHT = {"lowercase": False, "token_pattern": r"\S+"}


def noted(rows: int, seed: int) -> pd.DataFrame:
    """Parcels of which those that are said to be fragile are mostly late."""
    draw = np.random.default_rng(seed)
    notes = [" ".join(draw.choice(SAID, draw.integers(0, 7))) for _ in range(rows)]
    late = np.array(["fragile" in note for note in notes]) ^ (draw.random(rows) < 0.05)
    return pd.DataFrame(
        {
            "id": [f"{n}" for n in range(rows)],
            "time": pd.date_range("2024-01-01", periods=rows, freq="6h"),
            "note": [words.plain(note) or None for note in notes],
            "kind": draw.choice(["box", "tube"], rows),
            "weight": draw.normal(size=rows).astype(np.float32),
            "late": late,
        }
    )


def fitted(vectorizer: Any, model: Any, rows: pd.DataFrame) -> Pipeline:
    columns = [("note", vectorizer, "note"), ("weight", "passthrough", ["weight"])]
    pipeline = make_pipeline(ColumnTransformer(columns, sparse_threshold=0), model)
    return pipeline.fit(train.frame(rows, CONTRACT), rows["late"])


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Delivery LATE, again!", "delivery late again"),
        ("  Straße\n\tnumber ４２ ", "strasse number 42"),
        ("ﬁne—café", "fine café"),
        ("a_b it's", "a_b it s"),
        ("दिन हिन्दी", "दिन हिन्दी"),  # marks are written on and beside letters
        ("العَرَبِيَّة", "العَرَبِيَّة"),
        ("bro\u00adken zero\u200bwidth", "broken zero width"),
        ("x" * 20_000, "x" * 10_000),
        ("...", ""),
    ],
)
def test_one_text_has_one_spelling(text: str, plain: str) -> None:
    assert words.plain(text) == plain == words.plain(plain)
    assert words.count(text) == len(plain.split()) and np.isnan(words.count(None))
    assert encode(NOTE, [text])[0, 0] == plain
    assert encode(CONTRACT.column("kind"), [text])[0, 0] == text


def test_a_text_is_soon_read_whatever_it_is_made_of() -> None:
    """Composing takes the square of the marks in a row, which are cut; one ligature may be 18 letters."""
    assert (
        words.plain("\u0316\u0301" * 5000)
        == words.plain("a " + "\u0316\u0301" * 5000).removeprefix("a")
        == ""
    )
    assert len(words.plain("e" + "\u0301" * 5000)) <= 31
    assert len(words.plain("\ufdfa" * 10_000)) <= words.LONGEST


@pytest.mark.parametrize("first", range(0, 0x20000, 0x4000))
def test_what_is_plain_stays_so(first: int) -> None:
    texts = [f"a{chr(n)}B {chr(n)}" for n in range(first, first + 0x4000) if not 0xD800 <= n < 0xE000]
    assert all(words.plain(words.plain(text)) == words.plain(text) for text in texts)


def test_a_source_may_write_a_text_as_it_likes() -> None:
    rows = noted(3, 0).assign(note=pd.Series(["Late,\nagain!", "?", None], dtype=object))
    taken = tables.frame(coercion.typed(rows, "2024-01", CONTRACT))["note"]
    assert taken[0] == "late again" and taken[1:].isna().all()
    with pytest.raises(UserError, match=r"2024-01, row 1: note is 1\.5, but must be a text"):
        coercion.typed(rows.assign(note=1.5), "2024-01", CONTRACT)


@pytest.mark.parametrize("model", [LogisticRegression(), HistGradientBoostingClassifier(max_iter=20)])
@pytest.mark.parametrize(
    "vectorizer",
    [
        TfidfVectorizer(**RIGHT, max_features=8, dtype=np.float32),
        TfidfVectorizer(**RIGHT, min_df=3, norm="l1"),
        CountVectorizer(**RIGHT, binary=True, stop_words=["with"]),
    ],
)
def test_words_are_counted_by_operators_of_onnx_as_sklearn_counts(
    vectorizer: Any, model: Any, tmp_path: Path
) -> None:
    pipeline = fitted(vectorizer, model, noted(400, 1))
    (file := tmp_path / "model.onnx").write_bytes(train.to_onnx(pipeline, CONTRACT))
    onnx.check(file)
    asked = Model(file, tasks.of(CONTRACT))
    assert train.parity(pipeline, asked, noted(400, 2), CONTRACT) < 1e-6
    rows = [{"note": text, "weight": 0.5} for text in ("FRAGILE: handle...", "fragile handle", "", "-", None)]
    answers = asked.predict_rows(CONTRACT.features, rows)
    assert answers[0] == answers[1] > answers[2] == answers[3] == answers[4]


def test_the_machine_s_language_is_not_asked(tmp_path: Path) -> None:
    (file := tmp_path / "model.onnx").write_bytes(
        train.to_onnx(fitted(TfidfVectorizer(**RIGHT), LogisticRegression(), noted(400, 1)), CONTRACT)
    )
    script = (
        "import sys; from tests.code.test_words import CONTRACT; from pipelines.core import tasks; "
        "from pipelines.core.model import Model; rows = [{'note': 'GRÖSSE und Straße', 'weight': 0.5}]; "
        "print(*Model(sys.argv[1], tasks.of(CONTRACT)).predict_rows(CONTRACT.features, rows))"
    )
    for language in ("C", "tr_TR.UTF-8"):
        done = subprocess.run(
            [sys.executable, "-c", script, str(file)],
            env={"LC_ALL": language, "PYTHONPATH": str(Path.cwd()), "PYTHONUTF8": "1"},
            capture_output=True,
            text=True,
        )
        model = Model(file, tasks.of(CONTRACT))
        (here,) = model.predict_rows(CONTRACT.features, [{"note": "grösse UND strasse", "weight": 0.5}])
        assert float(done.stdout) == here, done.stderr


@pytest.mark.parametrize(
    "vectorizer",
    [
        TfidfVectorizer(),
        TfidfVectorizer(lowercase=False),
        CountVectorizer(token_pattern=r"\S+"),
        CountVectorizer(**RIGHT, ngram_range=(1, 2), max_features=40),
    ],
)
def test_a_vectorizer_that_would_count_otherwise_is_one_sentence(vectorizer: Any) -> None:
    pipeline = fitted(vectorizer, LogisticRegression(), noted(100, 1))
    with pytest.raises(UserError, match=r"estimators.py: a vectorizer of texts needs lowercase=False"):
        train.to_onnx(pipeline, CONTRACT)


def test_a_text_that_tells_the_outcome_is_a_leak_and_one_of_any_words_is_none() -> None:
    rows, task = noted(600, 3), tasks.of(CONTRACT)
    label, day = rows["late"].to_numpy(), rows["time"].dt.dayofyear.to_numpy()
    assert leaks.alone(rows["note"], label, day, task) > 0.9
    of_others = np.random.default_rng(0).permutation(rows["note"])
    assert leaks.alone(pd.Series(of_others), label, day, task) < 0.6


def test_words_are_no_slice() -> None:
    with pytest.raises(ValueError, match=r"columns.py: note: words are no slice"):
        Column("note", "words", "", slice=True)


def test_a_request_may_have_a_long_text_where_words_are_counted() -> None:
    def body(note: int, kind: int) -> bytes:
        return json.dumps({"rows": [{"note": "a" * note, "kind": "b" * kind, "weight": 1.0}]}).encode()

    reader = Reader(CONTRACT, 10)
    assert reader.read(body(words.LONGEST, 200))
    for note, kind, said in ((words.LONGEST + 1, 1, "10000"), (1, 201, "200")):
        with pytest.raises(UserError, match=rf"rows\[0\]\.\w+: is longer than {said} characters"):
            reader.read(body(note, kind))
    described = reader.schema()["properties"]["rows"]["items"]["properties"]
    assert [described[name]["maxLength"] for name in ("note", "kind", "id")] == [words.LONGEST, 200, 200]


def test_a_key_is_not_spelled_anew() -> None:
    key, *others = CONTRACT.columns
    with pytest.raises(ValueError, match=r"columns.py: the key id cannot be words"):
        replace(CONTRACT, columns=(replace(key, type="words"), *others))


def test_a_golden_row_has_no_word_that_few_rows_have() -> None:
    texts = pd.Series([*["late again"] * 5, "late mustermann", None, "mustermann"])
    kept = evaluate._of_many(texts)
    assert kept[:5].eq("late again").all() and kept[5] == "late" and kept.isna()[6] and kept[7] == ""
    assert evaluate._of_many(pd.Series([None, None], dtype="str")).isna().all()
    assert evaluate._of_many(pd.Series(["one", "two"])).eq("").all()


def test_a_proposal_may_make_words_of_a_text_and_not_other_ones() -> None:
    source = noted(3, 0).assign(note=pd.Series(["Herr Geheim, 42!", "late", None]))
    base = replace(
        CONTRACT, columns=tuple(replace(NOTE, type="text") if c == NOTE else c for c in CONTRACT.columns)
    )
    window = judged.window(source, "2024-01-01", base)
    theirs = source.assign(note=pd.Series(["herr geheim 42", "late", None]))
    assert judged.differing(theirs, source, window, base) is None
    said = judged.differing(theirs.assign(note=pd.Series(["herr 42", "late", None])), source, window, base)
    assert said is not None and said.startswith("note of '0' is one text in") and "1 of 3" in said
    assert "geheim" not in said.casefold()


def test_a_text_without_words_is_told_by_its_name(small_params: Params) -> None:
    its = {"contract": CONTRACT, "task": tasks.of(CONTRACT), "estimators": PARCELS.estimators}
    problem: Any = SimpleNamespace(**its)
    with pytest.raises(UserError, match=r"columns.py: note has no words until 2013-0.: make it a text"):
        train.fit_pipeline(small_params, noted(50, 1).assign(note=None), problem)
