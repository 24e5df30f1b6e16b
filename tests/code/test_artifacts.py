"""Each file that crosses a room is a closed model: what its writer did not write so is one sentence."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.artifacts.drift import Check
from pipelines.artifacts.file import Artifact
from pipelines.artifacts.host import Followed, Outputs, Served
from pipelines.artifacts.model import Description, Metrics, Shuffled
from pipelines.artifacts.reference import Reference
from pipelines.artifacts.release import Proposal, Release
from pipelines.artifacts.serving import Golden, Settings
from pipelines.artifacts.validation import Validation
from pipelines.base.errors import UserError
from tests.monitoring.checks import check
from tests.releases import about

HOST = {
    "environment": "staging",
    **{name: f"/home/{name}" for name in ("home", "folder", "tools", "socket")},
    **{name: "http://127.0.0.1:8080" for name in ("edge_url", "admin_url")},
    "models": [{"name": "rain", "blue": 8082, "green": 8083}],
}
REFERENCE = {
    **{"first": "2013-01-01", "last": "2013-05-31", "rows": 10, "label_rate": 0.2},
    "features": [
        {"name": "wind", "type": "number", "edges": [1.5], "values": [], "frequencies": [0.5, 0.5, 0]}
        | {"threshold": 0.2}
    ],
    "brier_skill": [{"month": "2013-05", "rows": 5, "label_rate": 0.2, "brier_skill": 0.1}],
}
DESCRIPTION = {
    **{"name": "rain", "estimator": "logistic", "settings": {"C": 1}, "seed": 7, "parity": 1e-7},
    "train": {"first": "2013-01-01", "last": "2013-05-31", "days": 151, "rows": 10, "label_rate": 0.2},
    **{"features": ["wind"], "schema": {"type": "object"}, "versions": {"onnx": "1.19"}},
}
RESULT = {
    **{"month": "2013-05", "expectation": "expect_column_values_to_not_be_null", "success": True},
    "setting": {
        **{"column": "wind", "mostly": 0.9, "min_value": None, "max_value": None, "value_set": None},
        **{"type_list": ["float64"], "column_list": None},
    },
    **{"observed": 0.01, "examples": []},
}
FILES: dict[type[Artifact], dict[str, Any]] = {
    Golden: {"rows": [{"wind": 1.5, "calm": None, "sky": "grey", "gusts": 2, "wet": True}], "p": [0.2]},
    Metrics: {"rows": 10, "days": 2, "label_rate": 0.2, "threshold": 0.25, "roc_auc": 0.7},
    Description: DESCRIPTION,
    Shuffled: {"roc_auc": 0.5},
    Validation: {"success": True, "results": [RESULT]},
    Check: check("STEADY").value,
    Outputs: HOST,
    Reference: REFERENCE,
    Release: about(),
    Settings: {"name": "rain", "api": 1, "threshold": 0.5, "batch": 10},
    Proposal: {"number": 12, "title": "x", "head": "1" * 40, "run": None, "override": "ada"},
    Served: {"release": "0" * 64, "bento": "/store/bento", "python": "/venv/bin/python"},
    Followed: {"head": "0" * 40, "written": "1" * 40, "moment": 1},
}
each = pytest.mark.parametrize("artifact", FILES, ids=lambda artifact: artifact.NAME)


def refused(artifact: type[Artifact], folder: Path, content: str) -> str:
    (folder / artifact.NAME).write_text(content)
    with pytest.raises(UserError) as found:
        artifact.read(folder)
    sentence = str(found.value)
    assert str(folder / artifact.NAME) in sentence and sentence.endswith(artifact.WAY_OUT)
    assert sentence.isprintable() and len(sentence) < 500
    return sentence


@each
def test_what_is_written_is_read_back(artifact: type[Artifact], tmp_path: Path) -> None:
    made = artifact.parse(FILES[artifact])
    written = json.loads(made.write(tmp_path).read_text())
    assert artifact.read(tmp_path) == made
    assert written == {"version": 1} | FILES[artifact]


@each
def test_a_file_of_a_first_host_has_no_version_and_is_read(artifact: type[Artifact], tmp_path: Path) -> None:
    value = {name: inner for name, inner in FILES[artifact].items() if name != "version"}
    (tmp_path / artifact.NAME).write_text(json.dumps(value))
    assert artifact.read(tmp_path) == artifact.parse(value | {"version": 1})


@each
def test_another_version_is_named(artifact: type[Artifact], tmp_path: Path) -> None:
    said = refused(artifact, tmp_path, json.dumps({"version": 2, "of": "later"}))
    assert "is of version 2: update this checkout, which reads version 1, or" in said


@each
def test_each_field_must_be_there_and_no_other(artifact: type[Artifact], tmp_path: Path) -> None:
    needed = [field.alias or name for name, field in artifact.model_fields.items() if field.is_required()]
    assert needed
    for gone in needed:
        value = {name: inner for name, inner in FILES[artifact].items() if name != gone}
        assert f"({gone}: " in refused(artifact, tmp_path, json.dumps(value))
        assert f"({gone}" in refused(artifact, tmp_path, json.dumps(FILES[artifact] | {gone: False}))
    assert "(more: " in refused(artifact, tmp_path, json.dumps(FILES[artifact] | {"more": "1"}))
    (tmp_path / artifact.NAME).write_text(json.dumps(FILES[artifact] | {"more": "1"}))
    if artifact is not Metrics:  # a stranger's, whose figures count like a field
        assert artifact.of_file(tmp_path / artifact.NAME, extra="ignore") == artifact.parse(FILES[artifact])


@each
@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, "[]", "null", '"\x00\x1b"'])
def test_what_is_no_object_is_one_sentence(artifact: type[Artifact], tmp_path: Path, content: str) -> None:
    refused(artifact, tmp_path, content)


@each
def test_a_field_that_is_there_twice_counts_in_neither_way(artifact: type[Artifact], tmp_path: Path) -> None:
    first = next(iter(FILES[artifact]))
    twice = json.dumps(FILES[artifact])[:-1] + f', "{first}": {json.dumps(FILES[artifact][first])}}}'
    assert json.loads(twice) == FILES[artifact]
    assert f"({first}: it is there twice)" in refused(artifact, tmp_path, twice)


@each
def test_a_missing_a_large_and_an_unreadable_file_are_one_sentence_each(
    artifact: type[Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="does not exist"):
        artifact.read(tmp_path)
    monkeypatch.setattr(artifact, "LARGEST", 10)
    assert "is larger than" in refused(artifact, tmp_path, json.dumps(FILES[artifact]))
    monkeypatch.undo()

    def unreadable(path: Path) -> bytes:  # the tests may run as root, who reads anything
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", unreadable)
    said = refused(artifact, tmp_path, json.dumps(FILES[artifact]))
    assert "cannot be read (Permission denied)" in said


def test_a_way_out_of_the_reader_s_own_replaces_the_writer_s(tmp_path: Path) -> None:
    assert Served.found(tmp_path) is None
    with pytest.raises(UserError, match=r"slot\.json does not exist: start the slot$"):
        Served.read(tmp_path, "start the slot")


def test_golden_rows_without_an_answer_each_are_refused(tmp_path: Path) -> None:
    for p in ([], [0.1, 0.2], [float("nan")], ["0.1"]):
        refused(Golden, tmp_path, json.dumps({"rows": [{"x": 1}], "p": p}))
    refused(Golden, tmp_path, json.dumps({"rows": [], "p": []}))
    refused(Golden, tmp_path, '{"rows": [{"x": 1e999}], "p": [0.1]}')


def test_a_day_is_one_of_the_calendar(tmp_path: Path) -> None:
    for day in ("2013-02-30", "10000-01-01", "2013-1-1", "20130101", "2013-01-01 ", 7, None):
        said = refused(Reference, tmp_path, json.dumps(REFERENCE | {"first": day}))
        assert "(first: " in said


def test_a_number_that_is_none_is_refused(tmp_path: Path) -> None:
    assert "label_rate" in refused(Reference, tmp_path, json.dumps(REFERENCE | {"label_rate": float("nan")}))


def test_a_port_that_is_none_is_refused(tmp_path: Path) -> None:
    for port in (0, 65536, "8082", 8082.5, True):
        models = [{"name": "rain", "blue": port, "green": 8083}]
        assert "models.0.blue" in refused(Outputs, tmp_path, json.dumps(HOST | {"models": models}))
