"""Each file that crosses a room is a closed model: what its writer did not write so is one sentence."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.artifacts.drift import Check
from pipelines.artifacts.file import Artifact
from pipelines.artifacts.followed import Followed
from pipelines.artifacts.host import Outputs
from pipelines.artifacts.proposal import Proposal
from pipelines.artifacts.reference import Reference
from pipelines.artifacts.release import Release
from pipelines.artifacts.serving import Settings
from pipelines.artifacts.slot import Served
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
FILES: dict[type[Artifact], dict[str, Any]] = {
    Check: json.loads(check("STEADY").model_dump_json()),
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
    needed = [name for name, field in artifact.model_fields.items() if field.is_required()]
    assert needed
    for gone in needed:
        value = {name: inner for name, inner in FILES[artifact].items() if name != gone}
        assert f"({gone}: " in refused(artifact, tmp_path, json.dumps(value))
        assert f"({gone}" in refused(artifact, tmp_path, json.dumps(FILES[artifact] | {gone: False}))
    assert "(more: " in refused(artifact, tmp_path, json.dumps(FILES[artifact] | {"more": 1}))


@each
@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, "[]", "null", '"\x00\x1b"'])
def test_what_is_no_object_is_one_sentence(artifact: type[Artifact], tmp_path: Path, content: str) -> None:
    refused(artifact, tmp_path, content)


@each
def test_a_missing_a_large_and_an_unreadable_file_are_one_sentence_each(
    artifact: type[Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="does not exist"):
        artifact.read(tmp_path)
    monkeypatch.setattr(artifact, "LARGEST", 10)
    assert "is larger than" in refused(artifact, tmp_path, json.dumps(FILES[artifact]))


def test_a_number_that_is_none_is_refused(tmp_path: Path) -> None:
    assert "label_rate" in refused(Reference, tmp_path, json.dumps(REFERENCE | {"label_rate": float("nan")}))


def test_a_port_that_is_none_is_refused(tmp_path: Path) -> None:
    for port in (0, 65536, "8082", 8082.5, True):
        models = [{"name": "rain", "blue": port, "green": 8083}]
        assert "models.0.blue" in refused(Outputs, tmp_path, json.dumps(HOST | {"models": models}))
