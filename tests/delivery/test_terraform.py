"""`ml infra`: python-terraform's faults are real and worked around; a host comes, comes back and goes."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from python_terraform import IsFlagged
from python_terraform import Terraform as PythonTerraform

from pipelines.base.errors import Refused, UserError
from pipelines.base.files import write_json
from pipelines.host import services, supervision, terraform
from pipelines.host.host import Host
from pipelines.host.slots import launch
from pipelines.host.terraform import ROOT, Terraform
from pipelines.registry.store import Store
from pipelines.rollout import checks, deploy
from pipelines.rollout.rehearse import free_ports
from tests.delivery import tiny

MODULE = """
terraform {
  backend "local" {}
}
variable "word" {
  type = string
}
resource "terraform_data" "one" {
  triggers_replace = var.word
  provisioner "local-exec" {
    command = "test ${var.word} != bad || { echo 'ml: it is bad' >&2; exit 2; }"
  }
}
output "word" {
  value = var.word
}
output "all" {
  value = { word = var.word, list = [1, 2] }
}
"""

BINARIES = {
    "terraform": shutil.which("terraform"),
    "ml-terraform": str(Path(sys.executable).parent / "ml-terraform"),
}


@pytest.fixture(params=BINARIES)
def binary(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The machine's Terraform and the one of the lock: both must do."""
    path = BINARIES[request.param]
    if path is None:
        pytest.skip("there is no terraform on PATH; ml-terraform is tested")
    monkeypatch.setattr(terraform, "_binary", lambda: path)
    return path


@pytest.fixture
def tiny_module(tmp_path: Path, binary: str) -> Callable[[str], Terraform]:
    """make(word): the module above with that variable, initialised."""
    module = tmp_path / "module"
    module.mkdir()
    (module / "main.tf").write_text(MODULE)

    def make(word: str) -> Terraform:
        made = Terraform(module, tmp_path / "state", {"word": word})
        made.init()
        return made

    return make


@pytest.fixture
def applied(tiny_module: Callable[[str], Terraform]) -> Terraform:
    made = tiny_module("good")
    assert made.plan() == "1 to add, 0 to change, 0 to destroy"
    made.apply()
    return made


@pytest.fixture
def theirs(applied: Terraform, binary: str) -> Iterator[PythonTerraform]:
    """python-terraform as its manual says, on what `applied` made."""
    with terraform._environment(applied.folder):
        yield PythonTerraform(
            working_dir=str(applied.module), terraform_bin_path=binary, variables=applied.variables
        )


def test_their_output_of_one_name_fails_and_ours_answers(theirs: PythonTerraform, applied: Terraform) -> None:
    with pytest.raises(TypeError):
        theirs.output("word")
    assert applied.outputs() == {"word": "good", "all": {"word": "good", "list": [1, 2]}}


def test_their_destroy_fails_and_leaves_all_and_ours_destroys(
    theirs: PythonTerraform, applied: Terraform
) -> None:
    code, _, err = theirs.destroy()
    assert code != 0 and "-force" in err
    assert applied.outputs()
    applied.plan(destroy=True)
    applied.apply()
    assert applied.outputs() == {}


def test_their_apply_fails_for_want_of_a_yes_and_ours_asks_nothing(
    tiny_module: Callable[[str], Terraform], binary: str
) -> None:
    made = tiny_module("good")
    with terraform._environment(made.folder):
        runner = PythonTerraform(
            working_dir=str(made.module), terraform_bin_path=binary, variables=made.variables
        )
        code, _, err = runner.apply()
    assert code != 0 and "approv" in err
    made.plan()
    made.apply()
    assert made.outputs()["word"] == "good"


def test_a_variable_file_of_theirs_is_kept_out_of_the_saved_plan(applied: Terraform, binary: str) -> None:
    with terraform._environment(applied.folder):
        runner = PythonTerraform(
            working_dir=str(applied.module), terraform_bin_path=binary, variables=applied.variables
        )
        code, _, err = runner.apply(str(applied.folder / "plan"), skip_plan=True)
    assert code != 0 and "plan" in err.lower()  # it passes variables beside a plan that holds them already


def test_a_plan_that_changes_nothing_says_so(applied: Terraform) -> None:
    assert applied.plan() == ""


def test_a_failed_apply_is_one_sentence_with_the_first_error(
    tiny_module: Callable[[str], Terraform],
) -> None:
    made = tiny_module("bad")
    made.plan()
    with pytest.raises(Refused, match=r"^terraform apply: it is bad$"):
        made.apply()
    (made.module / "main.tf").write_text(MODULE + "resource {}")
    with pytest.raises(Refused, match=r"^terraform plan: Missing type for resource [^\n]+$"):
        made.plan()


@pytest.mark.parametrize("mode", [None, 0, 0o700])
def test_a_cli_configuration_that_cannot_be_read_is_unset(
    mode: int | None, applied: Terraform, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, file = tmp_path / "configuration", tmp_path / "configuration" / "terraformrc"
    if mode is not None:
        folder.mkdir()
        file.touch()
        folder.chmod(mode)
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", str(file))
    readable = os.access(file, os.R_OK)
    assert readable == (mode == 0o700 or (mode == 0 and os.geteuid() == 0))  # root reads what is closed
    assert applied.outputs()["word"] == "good"
    with terraform._environment(applied.folder):
        assert ("TF_CLI_CONFIG_FILE" in os.environ) == readable
    assert os.environ["TF_CLI_CONFIG_FILE"] == str(file)


def test_the_module_stays_clean(applied: Terraform) -> None:
    assert [path.name for path in applied.module.iterdir()] == ["main.tf"]


def test_the_modules_are_formatted_and_valid(binary: str, tmp_path: Path) -> None:
    with terraform._environment(tmp_path):
        runner = PythonTerraform(working_dir=str(ROOT / "infra"), terraform_bin_path=binary)
        code, out, _ = runner.cmd("fmt", check=IsFlagged, recursive=IsFlagged)
    assert code == 0, out


# --- the real module --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_up_twice_changes_nothing(host: Host, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pids = _pids(host)
    terraform.up("staging", tiny.CONTRACT.name, home)
    assert "no changes" in capsys.readouterr().err
    assert _pids(host) == pids and len(pids) == 4  # supervisor, the edge and its keeper, logs


@pytest.mark.slow
def test_what_runs_is_tied_to_no_job(host: Host) -> None:
    supervisor = psutil.Process(int((host.folder / "supervisor" / "supervisord.pid").read_text()))
    assert os.getsid(supervisor.pid) == supervisor.pid
    # LC_CTYPE is Python's own doing where no locale is set
    own = {launch.MARK, "DO_NOT_TRACK", "LC_CTYPE"}
    assert all(supervision.KEPT.fullmatch(name) for name in supervisor.environ().keys() - own)
    assert str(host.home) in supervisor.cmdline()[0]
    assert not any(str(ROOT) in file.path for file in supervisor.open_files())


@pytest.mark.slow
def test_after_the_supervisor_was_killed_up_brings_all_back(
    host: Host, home: Path, store: Store, make: Callable[..., str]
) -> None:
    release = make("good")
    assert deploy.move(host, tiny.CONTRACT, release, store) == 0
    for process in _processes(host):
        process.kill()  # as after a reboot
    assert not services.alive(host)
    terraform.up("staging", tiny.CONTRACT.name, home)
    until = time.monotonic() + 30
    while not host.edge.healthy("blue") and time.monotonic() < until:
        time.sleep(0.1)
    assert checks.answers(host.edge_url) == release


@pytest.mark.slow
def test_a_port_in_use_is_named_and_nothing_is_started(host: Host, home: Path) -> None:
    first = free_ports()
    write_json(home / "production" / "terraform.tfvars.json", {"port": first})
    with (
        socket.create_server(("127.0.0.1", first + 3)),
        pytest.raises(
            UserError,
            match=rf"port {first + 3} \(green of .* of production\) is in use .*tfvars\.json",
        ),
    ):
        terraform.up("production", tiny.CONTRACT.name, home)
    assert {path.name for path in (home / "production").iterdir()} <= {
        "lock",
        "terraform",
        "terraform.tfvars.json",
        "models",
    }
    assert services.alive(host)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"port": 80}, "port must be a whole number from 1024"),
        ({"port": "many"}, "number"),
        ({"prt": 8080}, "prt is not a variable"),
        ([], "must be a mapping"),
    ],
)
def test_a_wrong_variable_file_is_one_sentence_that_names_it(
    tmp_path: Path, content: Any, words: str
) -> None:
    path = write_json(tmp_path / "staging" / "terraform.tfvars.json", content)
    with pytest.raises(UserError) as raised:
        terraform.plan("staging", tiny.CONTRACT.name, tmp_path)
    assert str(path) in str(raised.value) and words in str(raised.value) and "\n" not in str(raised.value)


def test_an_environment_without_a_host_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run `ml infra up --env staging`"):
        Host.load("staging", tiny.CONTRACT.name, tmp_path)


@pytest.mark.slow
def test_down_leaves_no_process_and_keeps_the_past(host: Host, home: Path) -> None:
    (host.predictions / "x.jsonl").write_text("{}\n")
    terraform.down("staging", tiny.CONTRACT.name, home)
    assert not _processes(host) and not host.socket.exists()
    left = {path.name for path in host.folder.iterdir()}
    assert {"models", "terraform"} <= left and not left & {"edge", "supervisor", "host.json"}
    assert host.predictions.exists() and not (host.place / "slots").exists()
    terraform.down("staging", tiny.CONTRACT.name, home)
    clean = subprocess.run(
        ["git", "status", "--porcelain", "infra"], cwd=ROOT, capture_output=True, text=True
    ).stdout
    assert ".terraform" not in clean


def _processes(host: Host) -> list[psutil.Process]:
    marks = (host.mark, *(slot.mark for slot in host.slots))
    return [process for mark in marks for process in launch.leftovers(mark)]


def _pids(host: Host) -> set[int]:
    return {process.pid for process in _processes(host)}


@pytest.mark.parametrize("values", ["    │ output.size is 7\n", "\n"], ids=["with values", "with none"])
def test_the_words_of_a_failed_assertion_are_told_however_terraform_draws_its_box(values: str) -> None:
    head = "Error: Test assertion failed\n\n  on a.tftest.hcl line 5:\n   5:  condition = output.size < 5\n"
    said = f"{head}    ├────────────────\n{values}\nit must be small\n\n\nError: another\n"
    told = str(terraform._refusal("test", said))
    assert told.endswith("it must be small") and "another" not in told
