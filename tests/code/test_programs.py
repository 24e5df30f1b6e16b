"""What a person has set for other programs does not steer those that we start; what reaches an index does."""

import ast
import os
import sys
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipelines.base import loopback, programs
from pipelines.base.errors import UserError

PACKAGE = Path(__file__).parents[2] / "pipelines"
STEERING = {
    "UV_PYTHON": "/usr/bin/python3",
    "UV_SYSTEM_PYTHON": "1",
    "UV_PROJECT_ENVIRONMENT": "/elsewhere",
    "PIP_TARGET": "/elsewhere",
    "PIP_PREFIX": "/elsewhere",
    "PIP_USER": "1",
    "PIP_REQUIRE_VIRTUALENV": "1",
    "PYTHONPATH": "/elsewhere",
    "PYTHONHOME": "/elsewhere",
    "PYTHONOPTIMIZE": "2",
    "VIRTUAL_ENV": "/elsewhere",
    "CONDA_PREFIX": "/elsewhere",
    "GIT_DIR": "/elsewhere",
    "TF_CLI_ARGS": "-help",
    "TF_CLI_ARGS_plan": "-destroy",
    "TF_DATA_DIR": "/elsewhere",
    "TF_WORKSPACE": "other",
    "TF_VAR_port": "1",
    "BENTOML_CONFIG": "/elsewhere",
    "BENTOML_HOME": "/elsewhere",
    "MAKEFLAGS": "-n",
    "BASH_ENV": "/elsewhere",
}
KEPT = {
    "UV_INDEX_URL": "https://mirror.example/simple",
    "UV_INDEX_MINE_PASSWORD": "secret",
    "UV_CACHE_DIR": "/cache",
    "PIP_INDEX_URL": "https://mirror.example/simple",
    "PIP_CERT": "/ca.pem",
    "SSL_CERT_FILE": "/ca.pem",
    "REQUESTS_CA_BUNDLE": "/ca.pem",
    "HTTPS_PROXY": "http://proxy.example:3128",
    "TF_CLI_CONFIG_FILE": "/terraformrc",
    "TF_TOKEN_app_terraform_io": "secret",
    "GIT_SSH_COMMAND": "ssh -i key",
    "DOCKER_HOST": "unix:///run/docker.sock",
    "AWS_PROFILE": "team",
    "HOME": "/home/ada",
}


def test_what_steers_is_dropped_and_what_reaches_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (STEERING | KEPT).items():
        monkeypatch.setenv(name, value)
    found = programs.environment()
    assert not {name for name, value in STEERING.items() if found.get(name) == value}
    assert {name: found.get(name) for name in KEPT} == KEPT
    assert programs.environment(BENTOML_HOME="/ours")["BENTOML_HOME"] == "/ours"


def test_a_python_that_we_start_imports_the_code_that_runs_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines/__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    said = "import pipelines; print(pipelines.__file__)"
    done = programs.run(
        [sys.executable, "-c", said], env=programs.environment(own_code=True), cwd=tmp_path / ".."
    )
    assert done.stdout.strip() == str(PACKAGE / "__init__.py"), done.stderr


@pytest.fixture(params=["readable", "closed"])
def folders(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A PATH of which the first folder may be read, or (by an ordinary user) not."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    tmp_path.chmod(0o700 if request.param == "readable" else 0)
    yield tmp_path
    tmp_path.chmod(0o700)


def test_a_program_that_is_missing_is_a_sentence(folders: Path) -> None:
    with pytest.raises(UserError, match="no-such-program is not installed"):
        programs.run(["no-such-program"])
    with pytest.raises(UserError, match="no-such-program is not installed"):
        programs.start(["no-such-program"])
    assert programs.find("no-such-program") is None
    assert Path(programs.find("ruff") or "").is_file()


def test_a_program_that_may_not_be_run_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "program").touch(mode=0o600)
    with pytest.raises(UserError, match="program may not be run: make it executable"):
        programs.run([tmp_path / "program"])
    with pytest.raises(UserError, match=f"{tmp_path}/nowhere is not a folder that may be entered"):
        programs.start([sys.executable, "-V"], cwd=tmp_path / "nowhere")


def test_a_lent_environment_is_given_back() -> None:
    before = dict(os.environ)
    with programs.lent({"ONLY": "this"}):
        assert dict(os.environ) == {"ONLY": "this"}
    assert dict(os.environ) == before


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_loopback_is_asked_without_a_proxy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"here")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    for each in ("NO_PROXY", "no_proxy", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "example.com")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    try:
        with loopback.ask(address, timeout=5) as answer:
            assert answer.read() == b"here"
        if name == "http_proxy":
            with pytest.raises(OSError):
                urllib.request.build_opener().open(address, timeout=5)  # the control
        told = programs.environment()
        assert told["no_proxy"] == told["NO_PROXY"] == "127.0.0.1,example.com,localhost,::1"
        monkeypatch.setenv("no_proxy", "example.com")
        with monkeypatch.context() as here:
            here.setattr(os, "environ", os.environ.copy())
            loopback.spare()
            assert os.environ["no_proxy"] == told["no_proxy"]
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("hard", "code"), [(256, 2), (1024, 0)])
def test_a_hard_limit_of_files_that_is_too_low_is_a_sentence(hard: int, code: int) -> None:
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({hard}, {hard}))"
    check = "from pipelines import cli; from pipelines.base import programs; cli.app = programs.check_files"
    command = [sys.executable, "-c", f"{limit}; {check}; cli.main()"]
    done = programs.run(command, env=programs.environment(own_code=True))
    assert done.returncode == code, done.stderr
    if code:
        assert done.stderr.startswith("ml: a process may open 256 files at most here, and a host needs 1024")
        assert len(done.stderr.splitlines()) == 1


STARTS = {"run", "Popen", "call", "check_call", "check_output", "getoutput", "getstatusoutput"}
WHOLE = {"copy", "items"}


def astray(source: str) -> list[str]:
    """Where a module starts a program by itself, or takes all of this process's environment to make one."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id="subprocess"), attr=name) if name in STARTS:
                found.append(f"subprocess.{name}")
            case ast.ImportFrom(module="subprocess"):
                found.append("from subprocess import")
            case ast.Attribute(value=ast.Name(id="os"), attr="system" | "popen" | "posix_spawn" as name):
                found.append(f"os.{name}")
            case ast.Attribute(value=ast.Attribute(attr="environ"), attr=name) if name in WHOLE:
                found.append(f"os.environ.{name}")
            case ast.Dict(keys=keys, values=values) if any(
                key is None and ast.unparse(value) == "os.environ"
                for key, value in zip(keys, values, strict=True)
            ):
                found.append("{**os.environ}")
            case ast.Call(func=ast.Name(id="dict"), args=[ast.Attribute(attr="environ"), *_]):
                found.append("dict(os.environ)")
            case ast.BinOp(left=left, op=ast.BitOr(), right=right) if "os.environ" in (
                ast.unparse(left),
                ast.unparse(right),
            ):
                found.append("os.environ | ...")
    return found


def test_no_other_module_starts_programs_or_makes_their_environment() -> None:
    own = {PACKAGE / "base/git.py", PACKAGE / "base/programs.py"}
    read = {
        path: path.read_text(encoding="utf-8")
        for folder in (PACKAGE, PACKAGE.parent / "benchmarks")
        for path in folder.rglob("*.py")
        if PACKAGE / "local/actions" not in path.parents  # run by git or a job, whose environment is theirs
    }
    # A handler of the return type's own name is not a start: the annotation `subprocess.Popen[str]`.
    wrong = {
        str(path.relative_to(PACKAGE.parent)): found
        for path, source in read.items()
        if path not in own and (found := [one for one in astray(source) if one != "subprocess.Popen"])
    }
    assert not wrong
    called = {path: "subprocess.Popen(" in source for path, source in read.items() if path not in own}
    assert not [path for path, starts in called.items() if starts]
    assert all(astray(read[path]) for path in own)


@pytest.mark.parametrize(
    "source",
    [
        'subprocess.run(["git", "status"])',
        "from subprocess import run",
        'os.system("git status")',
        'env = {**os.environ, "A": "1"}',
        "env = dict(os.environ)",
        "env = os.environ.copy()",
        'env = os.environ | {"A": "1"}',
        'env = {k: v for k, v in os.environ.items() if k != "A"}',
    ],
)
def test_a_module_that_goes_astray_is_found(source: str) -> None:
    assert astray(source)
