"""Images in a registry, by their digest: Debian's docker-registry where it is, and stand-ins that refuse."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from pipelines.base.errors import UserError
from pipelines.registry import images as module
from pipelines.registry.images import CHECKING, RELEASING, Images, Patience, configured, credentials
from pipelines.registry.oci import Layout, digest_of
from pipelines.release.layers import normalise
from tests.delivery import images, registries
from tests.delivery.registries import Faulty

KIND = "application/vnd.cyclonedx+json"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (module.VARIABLE, module.USER, module.PASSWORD, "GITHUB_TOKEN", "GH_TOKEN", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setattr(module, "RELEASING", Patience(failing=0.0, refused=0.0, answer=30.0))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("registry")
    with registries.real(folder) as name:
        yield name, folder


def layout(folder: Path, name: str = "one", more: str = "") -> Layout:
    files = images.OURS | {"bento/more": more}
    diffs = images.saved(folder / f"{name}.tar", images.layer(images.BASE), images.layer(files))
    return normalise(folder / f"{name}.tar", folder / name, diffs[:1], 1_700_000_000)


def test_an_image_is_pushed_by_its_digest_and_a_second_push_sends_nothing(registry, tmp_path: Path) -> None:
    there, made = Images.of(registry[0]), layout(tmp_path)
    assert there.push(made, "v1") == there.push(made, "v1") == f"{registry[0]}@{made.digest}"
    assert there.manifest(made.digest) == made.blob(made.digest).read_bytes()
    assert there.manifest(f"sha256:{'0' * 64}") is None


def test_a_tag_that_was_moved_moves_nothing_that_is_named_by_its_digest(registry, tmp_path: Path) -> None:
    there, one, two = Images.of(registry[0]), layout(tmp_path), layout(tmp_path, "two", "2")
    there.push(one, "v1")
    there.push(two, "v1")
    assert there.manifest(one.digest) == one.blob(one.digest).read_bytes()


def test_what_is_attached_is_found_and_twice_is_once(registry, tmp_path: Path) -> None:
    there, made = Images.of(registry[0]), layout(tmp_path, more="attached")
    there.push(made, "v1")
    assert there.attached(made.digest, KIND) == []
    for _ in range(2):
        there.attach(made.digest, KIND, b"{}\n")
    there.attach(made.digest, "application/other", b"other")
    assert there.attached(made.digest, KIND) == [b"{}\n"]
    tag = made.digest.replace(":", "-")
    url = f"http://{there.host}/v2/{there.path}/manifests/{tag}"
    index = httpx.get(url, headers={"Accept": module.INDEX}, trust_env=False).json()
    assert {one["artifactType"] for one in index["manifests"]} == {KIND, "application/other"}
    with pytest.raises(UserError, match="push it first"):
        there.attach(f"sha256:{'0' * 64}", KIND, b"{}")


@pytest.mark.parametrize(
    "manifest", [b"[]", b"no JSON", b'{"layers": [1, {"size": "1"}]}', b'{"layers": [{"size": 2}]}']
)
def test_what_somebody_else_attached_badly_hides_nothing(
    manifest: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = json.dumps({"layers": [{"size": 2, "digest": digest_of(b"{}")}]}).encode()
    held = {digest_of(content): content for content in (b"{}", good, manifest)}
    bad = ["a word", {}, {"artifactType": KIND}, {"artifactType": KIND, "digest": "../../v2"}]
    named = [{"artifactType": KIND, "digest": digest_of(one)} for one in (manifest, good)]

    def ask(self: Images, method: str, path: str, *more: object, **options: object) -> httpx.Response:
        kind, _, digest = path.partition("/")
        content = (
            json.dumps({"manifests": [*bad, *named]}).encode() if kind == "referrers" else held.get(digest)
        )
        return httpx.Response(404 if content is None else 200, content=content)

    monkeypatch.setattr(Images, "_ask", ask)
    assert Images.of("reg.example.com/a/b").attached(f"sha256:{'0' * 64}", KIND) == [b"{}"]
    held.clear()
    bad[:] = named[:] = []
    assert Images.of("reg.example.com/a/b").attached(f"sha256:{'0' * 64}", KIND) == []


def test_a_blob_that_was_changed_in_the_registry_is_not_taken(registry, tmp_path: Path) -> None:
    there, made = Images.of(registry[0]), layout(tmp_path, more="changed")
    there.push(made, "v1")
    there.attach(made.digest, KIND, content := b'{"sound": true}')
    hexadecimal = digest_of(content).removeprefix("sha256:")
    blob = registry[1] / f"docker/registry/v2/blobs/sha256/{hexadecimal[:2]}/{hexadecimal}/data"
    blob.write_bytes(b'{"sound": ever}')
    with pytest.raises(UserError, match="do not use it"):
        there.attached(made.digest, KIND)


REFUSALS = {
    401: "set GREENLIGHT_REGISTRY_USER and",
    403: "the credentials may not do this; a job on GitHub needs `packages: write`",
    404: "404 NAME_UNKNOWN no such repository",
    429: "429 TOOMANYREQUESTS",
    500: "500",
}


@pytest.mark.parametrize("status", REFUSALS)
def test_a_refusal_is_one_sentence(status: int, tmp_path: Path) -> None:
    codes = {404: ("NAME_UNKNOWN", "no such repository"), 429: ("TOOMANYREQUESTS", "slower")}
    code, message = codes.get(status, ("DENIED", "no"))
    content = json.dumps({"errors": [{"code": code, "message": message}]}).encode()

    def answers(method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        return (404 if method == "HEAD" else status), {}, content

    with registries.faulty(Faulty(answers)) as faults:
        with pytest.raises(UserError) as caught:
            Images.of(faults.name).push(layout(tmp_path), "v1")
        assert REFUSALS[status] in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_passes_is_asked_again(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RELEASING", Patience(failing=60.0, refused=0.0, answer=30.0))
    left = [(status, {"Retry-After": "0"}, b"<html>")] * 2

    def answers(method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        return left.pop() if left else (200, {}, b"held")

    with registries.faulty(Faulty(answers)) as faults:
        assert Images.of(faults.name).manifest(digest_of(b"held")) == b"held"
        assert len(faults.calls) == 3


def test_one_that_is_slow_or_gone_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RELEASING", Patience(failing=0.0, refused=0.0, answer=0.05))
    hangs = threading.Event()

    def answers(method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        hangs.wait(5)
        return 200, {}, b""

    with registries.faulty(Faulty(answers)) as faults:
        with pytest.raises(UserError, match="timed out"):
            Images.of(faults.name).manifest(digest_of(b""))
        hangs.set()
    with pytest.raises(UserError, match="refused"):
        Images.of(faults.name).manifest(digest_of(b""))


@dataclass
class Clock:
    """Time that passes where somebody sleeps, or waits for an answer."""

    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def refuses(clock: Clock) -> httpx.Response:
    raise httpx.ConnectError("Connection refused")


def fails(clock: Clock) -> httpx.Response:
    return httpx.Response(503)


def is_silent(clock: Clock) -> httpx.Response:
    clock.sleep(CHECKING.answer)
    raise httpx.ReadTimeout("timed out")


@pytest.mark.parametrize(
    ("answer", "releasing", "checking"), [(refuses, 5, 3), (fails, 8, 5), (is_silent, 5, 2)]
)
def test_who_only_checks_waits_less_and_nobody_waits_long_where_nothing_listens(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: Callable[[Clock], httpx.Response],
    releasing: int,
    checking: int,
) -> None:
    clock, asked = Clock(), list[str]()

    def answers(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return answer(clock)

    def tries(there: Images) -> int:
        asked.clear()
        with pytest.raises(UserError, match=r"GET manifests/sha256:\w+ failed: "):
            there.manifest(digest_of(b""))
        said = capsys.readouterr().err.count("waiting for the registry reg.example.com/team/model, at most ")
        assert said == len(asked) - 1
        return len(asked)

    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "RELEASING", RELEASING)
    monkeypatch.setattr(module, "_client", lambda *_: httpx.Client(transport=httpx.MockTransport(answers)))
    there = Images.of("reg.example.com/team/model")
    assert [tries(there), tries(there)] == [releasing, releasing], "each call by itself"
    hasty = there.in_haste()
    assert tries(hasty) == checking
    clock.sleep(CHECKING.failing)
    assert tries(hasty) == 1, "all its calls together"


def test_a_server_of_tokens_that_is_gone_is_one_sentence() -> None:
    realm = {"WWW-Authenticate": 'Bearer realm="http://127.0.0.1:9/token",service="it"'}
    asks = Faulty(lambda method, path, headers: (401, realm, b""))
    with registries.faulty(asks) as faults, pytest.raises(UserError, match="refused"):
        Images.of(faults.name).manifest(digest_of(b""))


def test_another_host_that_asks_who_we_are_is_told_nothing_and_not_asked_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(module.USER, "me")
    monkeypatch.setenv(module.PASSWORD, "mine")
    basic = {"WWW-Authenticate": "Basic"}

    def answers(method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        said = headers.get("authorization", headers.get("Authorization"))
        status = 404 if method == "HEAD" else 202
        return (status, {"Location": f"http://{elsewhere.name}"}, b"") if said else (401, basic, b"")

    asks = Faulty(lambda method, path, headers: (401, basic, b""))
    with (
        registries.faulty(asks) as elsewhere,
        registries.faulty(Faulty(answers)) as faults,
        pytest.raises(UserError, match="401"),
    ):
        Images.of(faults.name)._upload(digest_of(b"x"), b"x")
    assert len(elsewhere.calls) == 1


def test_another_manifest_than_was_asked_for_is_not_taken() -> None:
    lies = Faulty(lambda method, path, headers: (200, {}, b"another"))
    with registries.faulty(lies) as faults, pytest.raises(UserError, match="do not use it"):
        Images.of(faults.name).manifest(digest_of(b"wanted"))


def test_a_token_is_asked_for_as_the_registry_says_and_no_other_host_gets_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(module.USER, "me")
    monkeypatch.setenv(module.PASSWORD, "mine")
    shown = []

    def answers(method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        said = headers.get("authorization", headers.get("Authorization", ""))
        if path.startswith("/token?"):
            assert said == "Basic " + base64.b64encode(b"me:mine").decode()
            assert "service=it" in path and "scope=repository%3Ateam%2Fmodel%3Apull%2Cpush" in path
            return 200, {}, b'{"token": "given"}'
        if said != "Bearer given":
            realm = (
                f'Bearer realm="http://{faults.name.partition("/")[0]}/token",service="it",scope="x:y:pull"'
            )
            realm = realm.replace("x:y:pull", "repository:team/model:pull,push")
            return 401, {"WWW-Authenticate": realm}, b""
        if "/manifests/" in path:
            return 307, {"Location": f"http://{elsewhere.name}"}, b""
        return 200, {}, b""

    def other(method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        shown.append(headers.get("authorization", headers.get("Authorization")))
        return 200, {}, b"held"

    with registries.faulty(Faulty(answers)) as faults, registries.faulty(Faulty(other)) as elsewhere:
        assert Images.of(faults.name).manifest(digest_of(b"held")) == b"held"
    assert shown == [None]


def test_credentials_are_the_variables_the_runs_or_dockers_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert credentials("ghcr.io") is None
    (tmp_path / "docker").mkdir()
    auth = base64.b64encode(b"docker:said").decode()
    (tmp_path / "docker/config.json").write_text(json.dumps({"auths": {"ghcr.io": {"auth": auth}}}))
    assert credentials("ghcr.io") == ("docker", "said") and credentials("quay.io") is None
    monkeypatch.setenv("GITHUB_TOKEN", "token")
    monkeypatch.setenv("GITHUB_ACTOR", "me")
    assert credentials("ghcr.io") == ("me", "token") and credentials("quay.io") is None
    monkeypatch.setenv(module.USER, "u")
    monkeypatch.setenv(module.PASSWORD, "p")
    assert credentials("ghcr.io") == credentials("quay.io") == ("u", "p")


def test_the_registry_is_the_variables_else_githubs_of_a_run_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert configured() is None
    told = {"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "Own/Er", "GITHUB_TOKEN": "t"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:1")  # the workflow, run on a laptop
    assert configured() is None
    monkeypatch.setenv("GITHUB_API_URL", "https://api.github.com")
    assert configured() == Images.of("ghcr.io/own/er")
    monkeypatch.setenv(module.VARIABLE, "127.0.0.1:5000/team/model")
    assert configured() == Images.of("127.0.0.1:5000/team/model")
    monkeypatch.setenv(module.VARIABLE, "none")
    assert configured() is None


@pytest.mark.parametrize(
    "name", ["model", "ghcr.io/Own/er", "https://ghcr.io/own/er", "team/model", "ghcr.io/"]
)
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="GREENLIGHT_REGISTRY is HOST/PATH in small letters"):
        Images.of(name)
