"""The image of a release: built where an engine answers, and a sentence where none does."""

import http.client
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.artifacts.release import MODELS
from pipelines.artifacts.serving import Golden
from pipelines.base.errors import Refused, UserError
from pipelines.base.files import read_json
from pipelines.core.tasks.binary import BINARY
from pipelines.registry.store import Store
from pipelines.release import image as module
from pipelines.release.image import image
from pipelines.release.release import release
from tests import project
from tests.delivery import images
from tests.delivery.test_store import fill
from tests.problems.parcels import PROBLEM

Engine = Callable[[str], Path]
GIVEN, ELSE, OWN = (f"sha256:{digit * 64}" for digit in "abc")  # digests of a base


@pytest.fixture(autouse=True)
def limits() -> None:
    """Not the rollout's shorter waits."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    fill(tmp_path / "release", "one", name="little")
    store = Store(tmp_path / "store")
    store.add(tmp_path / "release")
    return store


@pytest.fixture
def release_id(store: Store) -> str:
    return store.list()[0].id


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """engine(SHELL) puts a `docker` on PATH that keeps its arguments in `calls` and then does SHELL."""
    for name in ("DOCKER_HOST", "GREENLIGHT_BASE_IMAGE", *module.CERTIFICATES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    monkeypatch.setattr(module, "commit_time", lambda commit, at: 1_700_000_000)
    monkeypatch.setattr(module.git, "blob", lambda *asked: None)

    def make(shell: str) -> Path:
        docker, calls = tmp_path / "bin" / "docker", tmp_path / "calls"
        docker.parent.mkdir()
        docker.write_text(f'#!/bin/sh\necho "$@" >> {calls}\ncase "$*" in\n{shell}\nesac\n')
        docker.chmod(0o755)
        monkeypatch.setenv("PATH", f"{docker.parent}{os.pathsep}/usr/bin{os.pathsep}/bin")
        return calls

    return make


@pytest.fixture
def builds(engine: Engine, tmp_path: Path) -> Path:
    """An engine that has built a small image; returns where it keeps its calls."""
    base, *_ = images.saved(tmp_path / "saved.tar", images.layer(images.BASE), images.layer(images.OURS))
    layers = f"""*RootFS*) echo '[["{base}"], ["mirror/python@{ELSE}", "python@{GIVEN}"], "{OWN}"]';;"""
    return engine(f"*Size*) echo 123000000;;\n{layers}\nsave*) cp {tmp_path / 'saved.tar'} $3;;")


def test_without_an_engine_there_is_no_image_and_a_sentence_says_how_to_have_one(
    store, release_id, engine: Engine
) -> None:
    engine("version*) echo 'cannot connect' >&2; exit 1;;")
    with pytest.raises(UserError, match="no Docker engine answers here; start one"):
        image(release_id, store)
    assert read_json(store.get(release_id) / "release.json")["image"] is None


def test_without_docker_at_all_too(store, release_id, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    with pytest.raises(UserError, match="no Docker engine answers here"):
        image(release_id, store)


def test_an_engine_that_was_configured_and_does_not_answer_is_an_error(
    store, release_id, engine: Engine, monkeypatch
) -> None:
    engine("version*) exit 1;;")
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    with pytest.raises(UserError, match=r"DOCKER_HOST names an engine that does not answer"):
        image(release_id, store)


def test_a_base_that_cannot_be_had_is_said(store, release_id, engine: Engine) -> None:
    calls = engine("'image inspect '*) exit 1;;\npull*) echo 'no route to the registry' >&2; exit 1;;")
    said = r"python:3\.11-slim cannot be had \(no route to the registry\); set GREENLIGHT_BASE_IMAGE"
    with pytest.raises(UserError, match=said):
        image(release_id, store)
    assert "build" not in calls.read_text()


def test_a_base_that_was_configured_and_cannot_be_had_is_an_error(
    store, release_id, engine: Engine, monkeypatch
) -> None:
    engine("'image inspect '*) exit 1;;\npull*) exit 1;;")
    monkeypatch.setenv("GREENLIGHT_BASE_IMAGE", "company/base")
    with pytest.raises(UserError, match="GREENLIGHT_BASE_IMAGE must name an image"):
        image(release_id, store)


def test_the_release_names_its_images_digest(store, release_id, builds: Path, tmp_path) -> None:
    image(release_id[:12], store)
    about = read_json(store.get(release_id) / "release.json")["image"]
    assert about["name"] == f"little:{release_id[:16]}" and about["base"] == f"python:3.11-slim@{GIVEN}"
    calls = builds.read_text()
    assert (
        f"--build-arg=RELEASE={release_id}" in calls and "--build-arg=SOURCE_DATE_EPOCH=1700000000" in calls
    )
    assert f"--label=org.opencontainers.image.version={release_id}" in calls
    assert f"--label=org.opencontainers.image.revision={'c' * 40}" in calls
    assert about["digest"] in (tmp_path / "summary.md").read_text()
    image(release_id, store)
    assert read_json(store.get(release_id) / "release.json")["image"] == about


@pytest.mark.parametrize(
    ("base", "given", "named"),
    [
        ("python", [f"mirror/python@{ELSE}", f"python@{GIVEN}"], f"python@{GIVEN}"),
        ("docker.io/library/python:3", [f"python@{GIVEN}"], f"docker.io/library/python:3@{GIVEN}"),
        ("mine:1", [f"mirror/python@{ELSE}"], f"mine:1@{OWN}"),
        ("localhost:5000/base", [f"localhost:5000/base@{GIVEN}"], f"localhost:5000/base@{GIVEN}"),
        ("mine:1", None, f"mine:1@{OWN}"),
        (f"python@{GIVEN}", [f"python@{ELSE}"], f"python@{GIVEN}"),
    ],
)
def test_a_base_has_the_digest_by_which_its_registry_gave_it_out_else_its_id(
    engine: Engine, base: str, given: list[str] | None, named: str
) -> None:
    engine(f"*) echo '{json.dumps([['sha256:1'], given, OWN])}';;")
    assert module._inspected(base) == (named, ["sha256:1"])


def test_a_build_that_fails_is_refused_and_not_recorded(store, release_id, engine: Engine) -> None:
    engine("build*) echo 'hash mismatch' >&2; exit 1;;")
    with pytest.raises(Refused, match="could not be built: hash mismatch"):
        image(release_id, store)
    assert read_json(store.get(release_id) / "release.json")["image"] is None


def docker(*command: str) -> str:
    if not shutil.which("docker"):
        return ""
    done = subprocess.run(["docker", *command], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


TOOLS = """for tool in gcc cc git pip pip3 uv make; do command -v $tool; done
find / -xdev -name pip -type d 2>/dev/null; /app/bin/python -c "import pip" 2>/dev/null && echo pip; true"""


@pytest.mark.slow
def test_the_real_image_answers_the_golden_rows(tmp_path: Path) -> None:
    base = os.environ.get("GREENLIGHT_BASE_IMAGE") or module.BASE
    if not docker("version", "--format", "{{.Server.Version}}"):
        pytest.skip("no Docker engine answers")
    if not docker("image", "inspect", base) and not docker("pull", "--quiet", base):
        pytest.skip(f"the base image {base} cannot be had: name another one with GREENLIGHT_BASE_IMAGE")
    store = Store(tmp_path / "store")
    with project.inside(project.copy(tmp_path / "project")):
        release_id = release(PROBLEM, store=store)
        image(release_id, store)
        about = read_json(store.get(release_id) / "release.json")["image"]
        first = docker("image", "inspect", "--format", "{{.Id}}", about["name"])
        image(release_id, store)  # the builder has most of it still; benchmarks/image.py builds it twice
    again = read_json(store.get(release_id) / "release.json")["image"]
    assert again == about and docker("image", "inspect", "--format", "{{.Id}}", about["name"]) == first
    container = docker(
        *("run", "--detach", "--read-only", "--tmpfs", "/tmp", "--publish", "127.0.0.1::3000"),
        about["name"],
    )
    try:
        port = int(docker("port", container, "3000/tcp").rpartition(":")[2])
        golden = Golden.read(store.get(release_id) / MODELS)
        answer = _ask(port, json.dumps({"rows": golden.rows}).encode())
        assert answer["release"] == release_id
        assert (
            golden.largest_difference([prediction["p"] for prediction in answer["predictions"]], BINARY)
            < 1e-6
        )
        until = time.monotonic() + 60
        while docker("inspect", "--format", "{{.State.Health.Status}}", container) != "healthy":
            assert time.monotonic() < until
            time.sleep(0.5)
        assert docker("exec", container, "sh", "-c", TOOLS) == "", "what builds and installs is not in it"
        assert docker("exec", container, "id", "-u") == "65534"
    finally:
        docker("rm", "--force", container)
        docker("rmi", "--force", about["name"])


def _ask(port: int, body: bytes) -> dict:
    until = time.monotonic() + 60
    while True:
        try:
            line = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            line.request("POST", "/predict", body, {"content-type": "application/json"})
            return json.loads(line.getresponse().read())
        except (OSError, http.client.HTTPException):
            assert time.monotonic() < until
            time.sleep(0.2)
