"""Which bytes ship: the reviewed ones where they are to be had, else others that answer the same."""

import shutil
from pathlib import Path

import onnx
import pytest

from pipelines.artifacts.release import Other
from pipelines.artifacts.verdict import Verdict
from pipelines.base.errors import Refused, UserError
from pipelines.base.files import read_json, sha256, write_bytes, write_json
from pipelines.core import params
from pipelines.registry.store import Store
from pipelines.release import reviewed
from pipelines.release.release import _review, release
from pipelines.training import table, train
from tests import project
from tests.problems.parcels import PROBLEM
from tests.verdicts import candidate, verdict

MODEL = Path("models/model.onnx")


def other_bytes(content: bytes) -> bytes:
    """Another file that answers the same, as another processor would make it."""
    model = onnx.load_from_string(content)
    model.doc_string = "another processor"
    return model.SerializeToString()


@pytest.fixture(scope="module")
def other_answers(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The model of another seed."""
    folder = project.made()
    text = (folder / "params.yaml").read_text().replace("seed: 7", "seed: 8")
    changed = tmp_path_factory.mktemp("seed") / "params.yaml"
    changed.write_text(text)
    return train.fit(params.load(changed), table.load(folder / table.PREPARED), PROBLEM)


def trained_elsewhere(checkout: Path) -> str:
    """What `ml reproduce --locked` leaves on another processor. Returns the model's SHA-256."""
    write_bytes(MODEL, other_bytes(MODEL.read_bytes()))
    project.lock(checkout)
    return sha256(MODEL)


def judged(content: bytes) -> str:
    """The report and the candidate of the judge's run. Returns the SHA-256 of the model."""
    write_bytes(reviewed.CANDIDATE / MODEL, content)
    digest = sha256(reviewed.CANDIDATE / MODEL)
    write_json(reviewed.REVIEW / "gate.json", verdict(candidate=candidate(digest)))
    return digest


def of_the_judge(here: Path) -> reviewed.Other | None:
    return reviewed.judged(here, Verdict.read(here / reviewed.REVIEW), PROBLEM.contract)


def test_other_bytes_of_the_same_inputs_are_accepted_and_the_tree_is_as_it_was(checkout: Path) -> None:
    made = trained_elsewhere(checkout)
    assert project.git(checkout, "status", "--porcelain") != ""
    reviewed.take(checkout)
    assert sha256(MODEL) == made
    assert project.git(checkout, "status", "--porcelain") == ""


def test_other_bytes_of_other_inputs_are_refused(checkout: Path) -> None:
    params_file = checkout / "params.yaml"
    params_file.write_text(params_file.read_text().replace("seed: 7", "seed: 8"))
    trained_elsewhere(checkout)
    with pytest.raises(
        UserError, match=r"dvc\.lock is not of this commit's inputs \(params\.yaml: train\.seed"
    ):
        reviewed.take(checkout)


def test_bytes_that_no_lock_names_are_refused(checkout: Path) -> None:
    trained_elsewhere(checkout)
    MODEL.write_bytes(MODEL.read_bytes() + b" ")
    with pytest.raises(UserError, match=r"models/model\.onnx is not the one that dvc\.lock names"):
        reviewed.take(checkout)


def test_the_locked_bytes_ship_where_the_judged_run_left_them(checkout: Path) -> None:
    locked = sha256(MODEL)
    judged(MODEL.read_bytes())
    trained_elsewhere(checkout)
    reviewed.take(checkout)
    assert sha256(MODEL) == locked
    assert of_the_judge(checkout) == Other(sha256=locked, max_dp=0.0)


def test_the_judged_bytes_ship_where_the_locked_ones_are_not_to_be_had(checkout: Path) -> None:
    first = MODEL.read_bytes()
    model = onnx.load_from_string(first)
    model.doc_string = "the runner that was judged"
    digest = judged(model.SerializeToString())
    trained_elsewhere(checkout)
    reviewed.take(checkout)
    assert sha256(MODEL) == digest
    assert reviewed.rebuilt(checkout, PROBLEM).max_dp == 0.0, "made again here, in other bytes"


def test_both_hashes_are_recorded_where_the_judged_model_answers_the_same(checkout: Path) -> None:
    digest = judged(other_bytes(MODEL.read_bytes()))
    reviewed.take(checkout)
    assert sha256(MODEL) != digest
    assert of_the_judge(checkout) == Other(sha256=digest, max_dp=0.0)


def test_a_judged_model_that_answers_otherwise_is_refused(checkout: Path, other_answers: bytes) -> None:
    judged(other_answers)
    reviewed.take(checkout)
    with pytest.raises(Refused, match=r"judged another model .* which answers otherwise \(max"):
        of_the_judge(checkout)


def test_a_judged_model_that_is_not_to_be_had_is_refused(checkout: Path) -> None:
    judged(other_bytes(MODEL.read_bytes()))
    shutil.rmtree(reviewed.CANDIDATE)
    with pytest.raises(Refused, match=r"candidate/models/model\.onnx is not the judged one"):
        release(PROBLEM, store=Store(checkout.parent / "store"))
    assert not list((checkout.parent / "store").glob("*"))


def test_a_model_that_was_made_elsewhere_and_answers_otherwise_does_not_pass_as_rebuilt(
    checkout: Path, other_answers: bytes
) -> None:
    write_bytes(MODEL, other_answers)
    project.lock(checkout)
    reviewed.take(checkout)
    with pytest.raises(Refused, match=r"is not what dvc\.lock and its seed give"):
        reviewed.rebuilt(checkout, PROBLEM)


def test_a_job_that_trains_nothing_releases_what_another_one_left(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, trained = trained_elsewhere(checkout), tmp_path / "trained"
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    reviewed.leave(trained, PROBLEM)
    (digest,) = [line.partition("=")[2] for line in (tmp_path / "output").read_text().splitlines()]

    def no_training(*_: object) -> bytes:
        raise AssertionError("this job trains nothing")

    monkeypatch.setattr(train, "fit", no_training)
    shutil.rmtree("models")
    shutil.rmtree("build")
    project.git(checkout, "checkout", "--quiet", "--", ".")
    with pytest.raises(UserError, match="is not what was trained: its SHA-256 is not"):
        release(PROBLEM, store=Store(tmp_path / "none"), trained=trained, digest="0" * 64)
    store = Store(tmp_path / "store")
    number = release(PROBLEM, store=store, trained=trained, digest=digest)
    about = read_json(store.folder / number / "release.json")
    assert about["model"]["sha256"] == made
    assert about["rebuilt"]["max_dp"] == 0.0
    assert project.git(checkout, "status", "--porcelain") == ""


def test_a_verdict_that_no_model_changed_speaks_for_the_base_s_model_alone(
    checkout: Path, other_answers: bytes
) -> None:
    base = project.git(checkout, "rev-parse", "HEAD")
    write_json(reviewed.REVIEW / "gate.json", verdict(candidate=None, base=base))
    (checkout / "README.md").write_text("a page")
    project.commit(checkout, "a page")
    assert (
        of_the_judge(checkout) is None
        and "says that no model changed" in _review(checkout, PROBLEM.contract).words
    )

    write_bytes(MODEL, other_answers)
    project.lock(checkout)
    project.commit(checkout, "another model, and the verdict on the page")
    with pytest.raises(Refused, match=r"says that no model changed, and dvc\.lock names another model"):
        release(PROBLEM, store=Store(checkout / "store"))
    assert not list((checkout / "store").glob("*"))

    (checkout / "README.md").write_text("another page")  # merged onto a base that has moved on
    project.commit(checkout, "another page")
    assert of_the_judge(checkout) is None


def test_a_verdict_that_judged_nothing_speaks_for_nothing(checkout: Path, other_answers: bytes) -> None:
    """Somebody merged it all the same: the release has no evidence of its own, and says so."""
    write_json(reviewed.REVIEW / "gate.json", verdict("FAIL", candidate=None))
    review = _review(checkout, PROBLEM.contract)
    assert review.judged is None and review.figures == {} and "judged no model" in review.words
