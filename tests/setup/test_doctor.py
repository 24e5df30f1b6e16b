"""`ml doctor`: what is on and what is off is told, with the way out, and nothing is ever a traceback."""

import json
import shutil
import socket
import threading
from pathlib import Path

import pytest

from pipelines.artifacts.host import Slots
from pipelines.base import programs
from pipelines.base.errors import UserError
from pipelines.base.files import write_json
from pipelines.host.host import Host
from pipelines.rollout.rehearse import free_ports
from pipelines.setup import checkout, doctor, host, machine, project
from pipelines.setup.beside import beside, unknown
from pipelines.setup.check import Check, State
from pipelines.training import remote, tracked
from tests.problems.parcels import PROBLEM
from tests.project import git

ON, OFF, UNKNOWN = State.ON, State.OFF, State.UNKNOWN


def named(checks: list[Check]) -> dict[str, Check]:
    return {check.what: check for check in checks}


# --- asking -----------------------------------------------------------------------------------------------


def test_what_hangs_or_fails_is_unknown_with_its_reason_and_the_rest_is_answered() -> None:
    def wrong() -> Check:
        raise UserError("the remote says no: ask it again")

    fine, never = Check("host", "fine", ON, "so"), threading.Event()
    asked = [
        (unknown("host", "hangs", "wake it"), lambda: never.wait(60) and fine),
        (unknown("host", "refuses"), wrong),
        (unknown("host", "is a bug"), lambda: 1 / 0),
        (unknown("host", "fine"), lambda: [fine, fine]),
    ]
    hangs, refuses, bug, *rest = beside(asked, within=0.5)  # type: ignore[arg-type]
    assert (hangs.state, hangs.says, hangs.way_out) == (UNKNOWN, "no answer within 0.5 s", "wake it")
    assert (refuses.state, refuses.says) == (UNKNOWN, "the remote says no: ask it again")
    assert (bug.state, bug.says) == (UNKNOWN, "a bug: ZeroDivisionError: division by zero")
    assert rest == [fine, fine]
    never.set()


# --- the table, --json, exit codes --------------------------------------------------------------------------

CHECKS = [
    Check("machine", "disk", ON, "25 GB free", "make room"),
    Check("machine", "Docker", OFF, "not installed", "install it", matters=False),
    Check("repository", "data", UNKNOWN, "no answer within 20 s", "try again " * 20),
]
FAILS = Check("host", "edge", OFF, "nothing answers", "`ml infra up --env staging`")


def test_the_table_is_by_groups_and_fits_with_the_way_out_below_what_is_not_on() -> None:
    lines = doctor.table([*CHECKS, FAILS])
    assert max(map(len, lines)) <= doctor.WIDE
    assert lines[:4] == [
        "machine",
        "  on       disk    25 GB free",
        "  (off)    Docker  not installed",
        "                   → install it",
    ]
    assert lines[-1] == "1 of what matters is off; 1 could not be asked"
    assert doctor.table(CHECKS[:2])[-1] == "nothing that matters is off"
    assert [line for line in lines if line and line[0] != " "][:-1] == ["machine", "repository", "host"]


def test_a_terminal_is_not_overrun_and_a_file_has_the_whole_width(monkeypatch: pytest.MonkeyPatch) -> None:
    assert max(map(len, doctor.table(CHECKS))) > 80
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    for columns, widest in (("80", 80), ("300", doctor.WIDE), ("20", 60)):
        monkeypatch.setenv("COLUMNS", columns)
        assert widest - 10 < max(map(len, doctor.table(CHECKS))) <= widest


@pytest.mark.parametrize(("more", "code"), [([], 0), ([FAILS], 3)])
def test_the_exit_code_is_3_where_something_that_matters_is_off(
    more: list[Check], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "look", lambda problem, home, repository: [*CHECKS, *more])
    assert doctor.doctor(PROBLEM) == code
    capsys.readouterr()
    assert doctor.doctor(PROBLEM, as_json=True) == code
    told = json.loads(capsys.readouterr().out)
    assert (told["version"], told["fails"], len(told["checks"])) == (1, code == 3, len(CHECKS) + len(more))
    assert told["checks"][1] == {
        "group": "machine",
        "what": "Docker",
        "state": "off",
        "says": "not installed",
        "way_out": "install it",
        "matters": False,
    }


# --- this machine -------------------------------------------------------------------------------------------


def test_this_machine_has_what_it_needs(tmp_path: Path) -> None:
    found = named(machine.checks(tmp_path))
    assert {found[what].state for what in ("Python", "git", "glibc", "disk")} == {ON}
    assert found["Docker"].matters is False


def test_what_this_machine_lacks_is_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.platform, "python_version", lambda: "3.9.2")
    monkeypatch.setattr(machine.git, "run", lambda *command: "git version 2.30.2")
    monkeypatch.setattr(machine, "FREE_BYTES", 2**60)
    monkeypatch.setattr(machine.os, "confstr", lambda name: "glibc 2.31")
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    monkeypatch.setattr(programs, "find", lambda name: None)
    monkeypatch.setattr(machine.sys, "prefix", str(tmp_path))
    found = named(machine.checks(tmp_path))
    off = {what: check for what, check in found.items() if not what.startswith("ports")}
    assert {check.state for check in off.values()} == {OFF} and all(check.way_out for check in off.values())
    assert [what for what, check in off.items() if not check.fails] == ["git", "Docker"]
    monkeypatch.setattr(machine.shutil, "which", lambda name: "/opt/terraform")
    assert named(machine.checks(tmp_path))["glibc"].state is ON


def test_an_engine_that_hangs_or_refuses_is_off_and_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (docker := tmp_path / "docker").write_text("#!/bin/sh\nexec sleep 60\n")
    docker.chmod(0o755)
    monkeypatch.setattr(programs, "find", lambda name: str(docker))
    monkeypatch.setattr(machine, "DOCKER_SECONDS", 0.2)
    assert (machine._docker().state, machine._docker().fails) == (OFF, False)
    docker.write_text("#!/bin/sh\necho 20.10.24\n")
    monkeypatch.setattr(machine, "DOCKER_SECONDS", 30)
    assert (machine._docker().state, machine._docker().says) == (ON, "engine 20.10.24")


def test_a_port_that_somebody_else_holds_is_named_and_matters_where_the_environment_is_set_up(
    tmp_path: Path,
) -> None:
    port = free_ports()  # with as many after it
    with socket.create_server(("127.0.0.1", port)):
        write_json(tmp_path / "staging/terraform.tfvars.json", {"port": port})
        found = named(machine.checks(tmp_path))["ports of staging"]
        assert found.state is OFF and not found.fails
        assert found.says.startswith(f"port {port} (edge of staging) is in use") and "tfvars" in found.way_out
        planned = machine._planned("staging", tmp_path)
        planned.write(planned.folder)
        assert named(machine.checks(tmp_path))["ports of staging"].fails
    assert named(machine.checks(tmp_path))["ports of staging"].state is ON


def test_the_planned_ports_are_those_of_infra(tmp_path: Path) -> None:
    said = (programs.CODE / "infra/local/main.tf").read_text()
    words = ", ".join(f"{name} = {port}" for name, port in machine.PORTS.items())
    assert f"default_ports = {{ {words} }}" in said
    slots = machine._planned("production", tmp_path).models
    assert slots == [Slots(name="model", blue=8092, green=8093)]


# --- the repository -----------------------------------------------------------------------------------------


@pytest.fixture
def ours(copy_of_yours: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(copy_of_yours)
    return copy_of_yours


def test_a_repository_with_its_own_problem_and_model_is_on(ours: Path) -> None:
    file = ours / checkout.OWNERS
    file.write_text("* @ada @acme/ml # who knows it\n/docs/\n/lib/ @ada\n")
    found = checkout.checks(PROBLEM)
    assert {check.state for check in found} == {ON}, found
    assert named(found)["code owners"].says == "@ada, @acme/ml"
    for text in ("* @OWNER/MAINTAINERS\n/docs/ @ada\n", "/docs/ # @ada\n", None):
        file.write_text(text) if text else file.unlink()
        assert checkout._owners().fails and "CODEOWNERS" in checkout._owners().way_out, text


def test_the_template_s_problem_is_told_and_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project, "example", lambda: PROBLEM.name)
    check = checkout._problem(PROBLEM)
    assert (check.state, check.matters) == (OFF, False) and "ml new" in check.way_out


def test_the_template_names_its_own_problem() -> None:
    if not (programs.CODE / project.tests()).is_dir():
        pytest.skip(f"the room is a team's own: {project.tests()} is gone")
    assert f'name="{project.example()}"' in (programs.CODE / "pipelines/problem/columns.py").read_text()


def test_params_code_and_files_that_dvc_lock_is_not_of_are_named(ours: Path) -> None:
    def says() -> str:
        tracked_now = checkout._lock()
        assert tracked_now.fails and "ml reproduce" in tracked_now.way_out
        return tracked_now.says

    params, code, model = (ours / n for n in ("params.yaml", "pipelines/core/model.py", "models/model.onnx"))
    before = params.read_text()
    params.write_text(before.replace("seed: 7", "seed: 8"))
    assert "params.yaml: train" in says()
    params.write_text(before)
    assert checkout._lock().state is ON
    code.write_text((text := code.read_text()) + "\n")
    assert "pipelines/core/model.py" in says()
    code.write_text(text)
    bytes_before = model.read_bytes()
    model.unlink()
    assert checkout._lock().state is ON  # what is missing can be made
    model.write_bytes(bytes_before + b"x")
    assert "models/model.onnx" in says()
    model.write_bytes(bytes_before)
    lock = ours / "dvc.lock"
    lock.write_text(lock.read_text() + "# edited\n")
    assert checkout._lock().says == "it is not committed"
    lock.write_text("stages: {train: {outs: [{path: /etc/passwd}]}}\n")
    assert "/etc/passwd" in says()
    lock.unlink()
    assert "no model was made" in checkout._lock().says


def test_data_that_are_not_as_recorded_are_off(ours: Path) -> None:
    (month, *others) = sorted((ours / "data").glob("*.parquet"))
    content = month.read_bytes()
    month.write_bytes(content + b"x")
    assert checkout._record().fails and month.name in checkout._record().says
    for file in (month, *others):
        file.unlink()
    assert checkout._record().state is ON and "here: `ml restore`" in checkout._record().says
    params = ours / "params.yaml"
    params.write_text(params.read_text().replace("first: 2013-01", "first: 2013-02", 1))
    assert checkout._record().fails and "ml ingest" in checkout._record().way_out
    (ours / "data.dvc").unlink()
    assert checkout._record().fails and "ml ingest" in checkout._record().way_out


def test_data_come_from_the_remote_where_there_is_one_else_from_the_source(
    ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(month: str) -> None:
        raise RuntimeError("the warehouse is closed")

    assert "source.py gives 2013-06" in checkout._source(PROBLEM).says
    monkeypatch.setattr("pipelines.core.rows.of_source", lambda month, problem: broken(month))
    with pytest.raises(RuntimeError):  # not the room's: `beside` says that it is a bug
        checkout._source(PROBLEM)
    monkeypatch.setattr(checkout, "mistake", lambda error: f"source.py, line 3: {error}")
    assert checkout._source(PROBLEM).says == "source.py, line 3: the warehouse is closed"
    storage = tmp_path / "storage"
    config = ours / ".dvc/config"
    config.write_text(config.read_text() + f"['remote \"storage\"']\n    url = {storage}\n")
    config.write_text(config.read_text().replace("[core]\n", "[core]\n    remote = storage\n"))
    assert checkout._source(PROBLEM).fails and "ml push" in checkout._source(PROBLEM).way_out
    list_of = tracked.Folder(Path("data")).name
    there = storage / "files/md5" / list_of[:2] / list_of[2:]
    there.parent.mkdir(parents=True)
    shutil.copy(ours / ".dvc/cache/files/md5" / list_of[:2] / list_of[2:], there)
    assert checkout._source(PROBLEM).says == "the DVC remote storage has data/"
    monkeypatch.setattr(remote, "has", lambda repo, name: (_ for _ in ()).throw(UserError("denied")))
    assert checkout._source(PROBLEM).says == "denied"


# --- the host -----------------------------------------------------------------------------------------------


def test_a_machine_without_environments_is_told_how_to_make_one(tmp_path: Path) -> None:
    (check,) = host.checks(tmp_path, PROBLEM.name)
    assert (check.state, check.fails) == (OFF, False) and "ml infra up" in check.way_out


def test_an_environment_of_which_nothing_runs_is_off_and_one_of_another_model_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "--quiet")
    monkeypatch.chdir(tmp_path)
    planned: Host = machine._planned("staging", tmp_path / "home")
    planned.write(planned.folder)
    (check,) = host.checks(tmp_path / "home", PROBLEM.name)
    assert check.fails and PROBLEM.name in check.says and "ml infra up" in check.way_out
    found = named(host.checks(tmp_path / "home", "model"))
    for what in ("staging edge", "staging supervisor", "staging slots"):
        assert found[what].fails and found[what].way_out.startswith("`ml "), what
    assert found["staging ledger"].state is UNKNOWN and "origin" in found["staging ledger"].says
    assert found["staging predictions"].state is ON and found["staging predictions"].says.startswith("0 B, ")
    monkeypatch.setattr(host, "FREE_BYTES", 2**60)
    assert named(host.checks(tmp_path / "home", "model"))["staging predictions"].fails


def test_a_whole_look_at_a_team_s_copy(ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_TOKEN", "GH_TOKEN", "GITHUB_REPOSITORY"):
        monkeypatch.delenv(name, raising=False)
    (ours / checkout.OWNERS).write_text("* @OWNER/MAINTAINERS\n")
    found = doctor.look(PROBLEM, tmp_path / "home")
    assert list(dict.fromkeys(check.group for check in found)) == ["machine", "repository", "GitHub", "host"]
    assert [check.what for check in found if check.fails and check.group == "repository"] == ["code owners"]
    assert not [check for check in found if "a bug" in check.says]
    assert max(map(len, doctor.table(found))) <= doctor.WIDE


def test_a_mistake_in_the_room_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        @property
        def name(self) -> str:
            raise UserError("pipelines/problem/columns.py: CONTRACT is an int")

    git(tmp_path, "init", "--quiet")
    monkeypatch.chdir(tmp_path)
    found = {(check.group, check.what): check for check in doctor.look(Broken(), tmp_path / "home")}  # type: ignore[arg-type]
    assert "CONTRACT is an int" in found["repository", "problem"].says
    assert "CONTRACT is an int" in found["host", "all of it"].says
