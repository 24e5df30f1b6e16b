"""A release that is not what was signed: by another's key, of another image, SBOM, repository, workflow."""

import base64
import datetime
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import asyncssh
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ObjectIdentifier

from pipelines.artifacts.release import Image, Release
from pipelines.base.errors import Refused, UserError
from pipelines.base.files import write_bytes
from pipelines.registry import attestation, images, keyless
from pipelines.registry.attestation import ATTESTATION, CYCLONEDX, SBOM
from pipelines.registry.images import Images
from pipelines.registry.ledger import Entry, Ledger
from pipelines.registry.signer import VARIABLE
from pipelines.registry.signing import LIST, Untrusted
from pipelines.registry.store import Store
from pipelines.release import image as building
from pipelines.release import supply
from pipelines.release.image import Built
from pipelines.release.layers import normalise
from pipelines.release.release import release
from pipelines.release.sbom import sbom
from pipelines.release.verify import verify
from tests import project
from tests.delivery import images as made
from tests.delivery import registries
from tests.delivery.test_trust import Trusting, world
from tests.problems.parcels import PROBLEM

assert world  # the fixture
AGAIN = "run `ml release` again at"
BASE = f"reg.example.com:5000/team/debian:12@sha256:{'b' * 64}"


@pytest.fixture(autouse=True)
def limits() -> None:
    """Not the rollout's shorter waits: nothing is moved here."""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    with registries.real(tmp_path_factory.mktemp("registry")) as name:
        yield Images.of(name)


def pushed(world: Trusting, there: Images, name: str = "first") -> tuple[Entry, Path]:
    """A signed release with an image in the registry and its SBOM."""
    entry = world.merged(name, signed=False)
    folder = world.store.folder / entry.release
    layout = layout_of(world.home / name, name)
    there.push(layout, "tag")
    write_bytes(folder / "evidence" / SBOM, content := sbom(layout))
    there.attach(layout.digest, CYCLONEDX, content)
    about = Release.read(folder)
    named = Image(name=there.name, digest=layout.digest, base=BASE)
    about.model_copy(update={"image": named}).write(folder)
    world.attest(folder)
    return signed_again(world, entry), folder


def layout_of(folder: Path, more: str):
    folder.mkdir(parents=True, exist_ok=True)
    files = made.OURS | {"bento/more": more}
    diffs = made.saved(folder / "saved.tar", made.layer(made.BASE), made.layer(files))
    return normalise(folder / "saved.tar", folder / "image", diffs[:1], 1_700_000_000)


def signed_again(world: Trusting, entry: Entry) -> Entry:
    """The entry as its writer's key would sign it now: the ledger is honest, and says what is there."""
    from pipelines.registry import merged

    folder = world.store.folder / entry.release
    image = Release.read(folder).image
    told = {"beside": merged.digest(folder), "image": image.reference if image else None}
    return entry.model_copy(update=told)


def test_a_release_with_image_sbom_and_provenance_is_followed_and_verified(
    world: Trusting, registry: Images
) -> None:
    entry, folder = pushed(world, registry)
    world.follows(world.write(entry))
    lines = verify(entry.release)
    digest = Release.read(folder).image.digest  # type: ignore[union-attr]
    for told in ("signed by ci", f"made from {Ledger(world.writer).repository}", "in no workflow", digest):
        assert any(told in line for line in lines), (told, lines)


def test_what_a_key_has_signed_is_not_called_unsigned_where_no_list_is_here(
    world: Trusting, registry: Images
) -> None:
    entry, folder = pushed(world, registry)
    (world.host.folder / LIST).unlink()
    with pytest.raises(UserError, match="is signed with a key, and no list here says whose counts: give one"):
        verify(entry.release)
    (folder / "evidence" / ATTESTATION).unlink()
    with pytest.raises(Refused, match="has no evidence/"):
        verify(entry.release)


def swapped_image(world: Trusting, folder: Path, registry: Images) -> None:
    other = layout_of(world.home / "other", "other")
    registry.push(other, "tag")
    about = Release.read(folder)
    held = about.image.model_copy(update={"digest": other.digest})  # type: ignore[union-attr]
    about.model_copy(update={"image": held}).write(folder)


def changed_image(folder: Path, **changes: str) -> None:
    about = Release.read(folder)
    held = about.image.model_copy(update=changes)  # type: ignore[union-attr]
    about.model_copy(update={"image": held}).write(folder)


def another_name(world: Trusting, folder: Path, registry: Images) -> None:
    """The same image, in another repository, where another hand may change what a tag means, and delete."""
    there = Images.of(f"{registry.host}/theirs/model")
    there.push(layout_of(world.home / "again", "first"), "tag")
    there.attach(Release.read(folder).image.digest, CYCLONEDX, (folder / "evidence" / SBOM).read_bytes())  # type: ignore[union-attr]
    changed_image(folder, name=there.name)


def a_name_of_an_engine(world: Trusting, folder: Path, registry: Images) -> None:
    changed_image(folder, name="model:1")


def another_base(world: Trusting, folder: Path, registry: Images) -> None:
    changed_image(folder, base=BASE.replace("debian", "theirs"))


def another_digest_of_the_base(world: Trusting, folder: Path, registry: Images) -> None:
    changed_image(folder, base=BASE.replace("b" * 64, "e" * 64))


def a_base_without_its_digest(world: Trusting, folder: Path, registry: Images) -> None:
    changed_image(folder, base=BASE.partition("@")[0])


def swapped_sbom(world: Trusting, folder: Path, registry: Images) -> None:
    write_bytes(folder / "evidence" / SBOM, sbom(layout_of(world.home / "other", "other")))


def sbom_of_another_image(world: Trusting, folder: Path, registry: Images) -> None:
    swapped_sbom(world, folder, registry)
    world.attest(folder)


def anothers_key(world: Trusting, folder: Path, registry: Images) -> None:
    world.attest(folder, by="other")


def another_repository(world: Trusting, folder: Path, registry: Images) -> None:
    world.attest(folder, repository="some/body")


def another_workflow(world: Trusting, folder: Path, registry: Images) -> None:
    world.patch.setenv("GITHUB_WORKFLOW_REF", "a/b/.github/workflows/propose.yml@refs/heads/main")
    world.attest(folder)


def another_branch(world: Trusting, folder: Path, registry: Images) -> None:
    world.patch.setenv("GITHUB_WORKFLOW_REF", f"a/b/{attestation.WORKFLOW}@refs/heads/mine")
    world.attest(folder)


def changed_statement(world: Trusting, folder: Path, registry: Images) -> None:
    file = folder / "evidence" / ATTESTATION
    held = json.loads(file.read_bytes())
    payload = base64.b64decode(held["payload"]).replace(b"greenlight:local", b"greenlight:other")
    write_bytes(file, json.dumps(held | {"payload": base64.b64encode(payload).decode()}).encode())


def not_in_the_registry(world: Trusting, folder: Path, registry: Images) -> None:
    never = layout_of(world.home / "never", "never")
    about = Release.read(folder)
    held = about.image.model_copy(update={"digest": never.digest})  # type: ignore[union-attr]
    about.model_copy(update={"image": held}).write(folder)
    write_bytes(folder / "evidence" / SBOM, sbom(never))
    world.attest(folder)


def not_beside_the_image(world: Trusting, folder: Path, registry: Images) -> None:
    file = folder / "evidence" / SBOM
    write_bytes(file, file.read_bytes().replace(b"2.36-9+deb12u9", b"2.36-9+deb12u8"))
    world.attest(folder)


def another_start(world: Trusting, folder: Path, registry: Images) -> None:
    file = folder / "bento" / "bento.yaml"
    more = {"envs": [{"name": "PYTHONPATH", "value": "/tmp"}]}
    file.write_text(json.dumps(yaml.safe_load(file.read_text()) | more))


ATTACKS = {
    another_start: "bento.yaml starts another service than bentofile.yaml does, or with more",
    swapped_image: f"{ATTESTATION} is of another 127.0.0.1",
    another_name: f"{ATTESTATION} is of another 127.0.0.1",
    a_name_of_an_engine: f"{ATTESTATION} is of another 127.0.0.1",
    another_base: "is of another base of the image: pkg:docker/reg.example.com:5000/team/debian@12 bbb",
    another_digest_of_the_base: "is of another base of the image: ",
    a_base_without_its_digest: " was signed, and here is none",
    swapped_sbom: f"is of another {SBOM}",
    sbom_of_another_image: "names an SBOM of another image",
    anothers_key: "which /",
    another_repository: "is of the repository some/body, and this is",
    another_workflow: "was made by .github/workflows/propose.yml on refs/heads/main",
    another_branch: f"was made by {attestation.WORKFLOW} on refs/heads/mine",
    changed_statement: "carries a signature that does not fit its content",
    not_in_the_registry: "has an image that 127.0.0.1",
    not_beside_the_image: "has another SBOM than 127.0.0.1",
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_what_was_not_signed_so_is_refused_by_the_host_and_by_verify(
    world: Trusting, registry: Images, attack: Callable[[Trusting, Path, Images], None]
) -> None:
    entry, folder = pushed(world, registry)
    attack(world, folder, registry)
    world.write(signed_again(world, entry))
    world.refuses(ATTACKS[attack])
    with pytest.raises(Refused) as caught:
        verify(entry.release)
    assert ATTACKS[attack] in str(caught.value)


def test_a_statement_of_yesterday_with_its_image_is_not_what_the_entry_names(
    world: Trusting, registry: Images
) -> None:
    entry, folder = pushed(world, registry)
    old = {p: p.read_bytes() for p in (*(folder / "evidence").iterdir(), folder / "release.json")}
    swapped_image(world, folder, registry)
    write_bytes(folder / "evidence" / SBOM, content := sbom(layout_of(world.home / "newer", "other")))
    registry.attach(Release.read(folder).image.digest, CYCLONEDX, content)  # type: ignore[union-attr]
    world.attest(folder)
    newer = signed_again(world, entry)
    for path, content in old.items():
        path.write_bytes(content)
    world.write(newer)
    world.refuses("evidence/ or release.json in ")
    world.write(newer.model_copy(update={"beside": entry.beside}))
    world.refuses("and the ledger's entry names")


def test_a_base_that_nobody_signed_counts_and_the_check_says_so(
    world: Trusting, registry: Images, capsys: pytest.CaptureFixture[str]
) -> None:
    """By an earlier version, or where whoever signed did not build the image."""
    entry, folder = pushed(world, registry)
    assert f"  on the base {BASE}" in verify(entry.release)
    world.attest(folder, built=False)
    changed_image(folder, base="theirs:1")
    world.follows(world.write(signed_again(world, entry)))
    unsigned = "  on the base theirs:1, which nobody has signed"
    assert unsigned in verify(entry.release) and unsigned in capsys.readouterr().err


def test_an_image_that_only_an_engine_has_is_signed_by_nobody_and_the_check_says_so(world: Trusting) -> None:
    world.write(entry := world.merged("first"))
    world.store.note(entry.release, Image(name="model:1", digest=f"sha256:{'e' * 64}", base=BASE))
    assert verify(entry.release)[-1].endswith("model:1 is an engine's, and nobody has signed it")


def test_a_registry_that_is_down_is_waited_for_with_a_word_and_the_signature_is_enough(
    world: Trusting, registry: Images, capsys: pytest.CaptureFixture[str]
) -> None:
    entry, folder = pushed(world, registry)
    about = Release.read(folder)
    gone = about.image.model_copy(update={"name": "127.0.0.1:9/team/model"})  # type: ignore[union-attr]
    about.model_copy(update={"image": gone}).write(folder)
    world.attest(folder)
    world.patch.setattr(images, "CHECKING", images.Patience(failing=2.0, refused=0.0, answer=1.0))
    world.follows(world.write(signed_again(world, entry)))
    said = capsys.readouterr().err
    assert "asking the registry 127.0.0.1:9/team/model for the image and its SBOM" in said
    assert "not seen in the registry: 127.0.0.1:9/team/model: GET manifests/" in said

    world.attest(folder, by="other")  # the control: what was not signed is not asked for, and refused
    world.write(signed_again(world, entry).model_copy(update={"by": "again"}))
    world.route = None
    world.refuses("evidence/attestation.json ")


def test_a_release_of_an_earlier_version_is_refused_where_there_is_a_list_unless_it_ran_here(
    world: Trusting,
) -> None:
    world.write(entry := world.merged("old", signed=False))
    world.refuses(f"has no evidence/{ATTESTATION}: {AGAIN}")
    world.patch.setattr("pipelines.rollout.journal.Journal.goes_back", lambda journal, release: True)
    about = Release.read(folder := world.store.folder / entry.release)
    planted = Image(name="reg.example.com/their/model", digest=f"sha256:{'e' * 64}", base=BASE)
    about.model_copy(update={"image": planted}).write(folder)
    world.refuses("has the image reg.example.com/their/model@sha256:eee")
    about.write(folder)
    world.follows(entry)


def test_a_host_without_a_list_takes_it_as_it_is(world: Trusting) -> None:
    (world.host.folder / "allowed_signers").unlink()
    world.follows(world.write(world.merged("old", signed=False)))


def test_a_misspelt_demand_is_not_taken_for_none(world: Trusting) -> None:
    (world.host.folder / "allowed_signers").unlink()
    world.patch.setenv("GREENLIGHT_VERIFY", "Keyless")
    world.write(world.merged("old", signed=False))
    world.refuses("GREENLIGHT_VERIFY is 'Keyless', and only `keyless` is known")


# --- `ml release`: in one order, and a kill anywhere --------------------------------------------------------


@pytest.fixture
def checkout(tmp_path: Path, registry: Images, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A commit to release, a key, a registry, and an engine that builds a small image."""
    from contextlib import contextmanager

    for name in ("MLFLOW_TRACKING_URI", "GITHUB_STEP_SUMMARY", "GITHUB_WORKFLOW_REF"):
        monkeypatch.delenv(name, raising=False)
    key = asyncssh.generate_private_key("ssh-ed25519")
    monkeypatch.setenv(VARIABLE, key.export_private_key().decode())
    (tmp_path / "list").write_text(f"ci {key.export_public_key().decode()}")
    monkeypatch.setenv(images.VARIABLE, registry.name)
    monkeypatch.setenv("GREENLIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(building, "missing", lambda: None)

    @contextmanager
    def built(folder: Path, repository: Path | str = ".") -> Iterator[Built]:
        layout = layout_of(tmp_path / f"built{len(list(tmp_path.iterdir()))}", "release")
        yield Built(Image(name="little:1", digest=layout.digest, base=BASE), layout, 1)

    monkeypatch.setattr(building, "built", built)
    folder = project.copy(tmp_path / "project")
    project.git(folder, "push", "--quiet", "origin", "HEAD:refs/heads/main")
    with project.inside(folder):
        yield folder


@pytest.mark.parametrize("killed", ["push", "attach", "sign"])
def test_a_release_is_pushed_signed_and_only_then_named_and_a_killed_one_is_finished(
    checkout: Path, registry: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: str
) -> None:
    store = Store(tmp_path / "home" / "store")
    kind = attestation.OwnKey if killed == "sign" else Images
    with monkeypatch.context() as patch:
        patch.setattr(kind, killed, lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            release(PROBLEM, store=store)
    assert Ledger().wanted("staging") is None and not store.list()
    number = release(PROBLEM, store=store)
    about, entry = Release.read(store.get(number)), Ledger().required("staging")
    assert about.image and entry.image == about.image.reference == f"{registry.name}@{about.image.digest}"
    assert len(registry.attached(about.image.digest, attestation.ENVELOPE)) >= 1
    assert release(PROBLEM, store=store) == number  # there is nothing to do
    assert Ledger().history("staging") == [entry]
    assert any("signed by ci" in line for line in verify(number, tmp_path / "list"))


def test_a_release_that_was_made_without_a_registry_gets_its_image_by_the_same_command(
    checkout: Path, registry: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")
    with monkeypatch.context() as patch:
        patch.setenv(images.VARIABLE, "none")
        number = release(PROBLEM, store=store)
        assert Ledger().required("staging").image is None
        assert "| image | not pushed: set the variable" in supply.words(store.get(number))
    assert release(PROBLEM, store=store) == number
    entry = Ledger().required("staging")
    assert entry.image and entry.image.startswith(f"{registry.name}@sha256:")


@pytest.mark.parametrize("stripped", [True, False], ids=["without its statement", "with its statement"])
def test_an_image_that_somebody_wrote_into_the_store_is_neither_signed_nor_named(
    checkout: Path, registry: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stripped: bool
) -> None:
    store = Store(tmp_path / "store")
    monkeypatch.setenv(images.VARIABLE, "none")
    folder = store.get(number := release(PROBLEM, store=store))
    planted = Image(name=registry.name, digest=f"sha256:{'e' * 64}", base="theirs")
    Release.read(folder).model_copy(update={"image": planted}).write(folder)
    write_bytes(
        folder / "evidence" / SBOM,
        json.dumps({"metadata": {"component": {"version": planted.digest}}}).encode(),
    )
    if stripped:
        (folder / "evidence" / ATTESTATION).unlink()
    assert release(PROBLEM, store=store) == number
    assert not (store.get(number) / "evidence" / SBOM).exists()
    assert Ledger().required("staging").image is None and Release.read(store.get(number)).image is None
    signed = json.loads((store.get(number) / "evidence" / ATTESTATION).read_bytes())
    assert b"e" * 64 not in base64.b64decode(signed["payload"])


def test_a_base_that_somebody_wrote_into_the_store_is_not_signed_where_nothing_is_built(
    checkout: Path, registry: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entry vouches for the image, by its name and digest, and for no base."""
    store = Store(tmp_path / "home" / "store")
    folder = store.get(number := release(PROBLEM, store=store))
    image = Release.read(folder).image
    changed_image(folder, base=f"theirs@sha256:{'e' * 64}")
    later = attestation.OwnKey(Ledger().signer, file=keyless.BUNDLE)  # type: ignore[arg-type]
    monkeypatch.setattr(keyless, "signer", lambda: later)
    monkeypatch.setenv(images.VARIABLE, "none")
    assert release(PROBLEM, store=store) == number
    for name in (ATTESTATION, keyless.BUNDLE):
        signed = json.loads((store.get(number) / "evidence" / name).read_bytes())
        payload = base64.b64decode(signed["payload"])
        assert image and image.digest[7:].encode() in payload and b"e" * 64 not in payload


def test_a_registry_that_was_named_and_no_engine_is_an_error(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "missing", lambda: "no Docker engine answers here")
    with pytest.raises(UserError, match=r"GREENLIGHT_REGISTRY names .*, and no Docker engine"):
        release(PROBLEM, store=Store(tmp_path / "store"))


# --- without a key: the documented contract of Sigstore's library, by a stand-in of its service ---------


def certificate(identity: str, issuer: str, runner: str) -> x509.Certificate:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime(2026, 1, 1)
    name = x509.Name([])
    named = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)])
    issued = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.57264.1.1"), issuer.encode())
    ran_on = b"\x0c" + bytes([len(runner)]) + runner.encode()  # DER, a UTF8String
    ran = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.57264.1.11"), ran_on)
    built = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    for extension, critical in ((named, True), (issued, False), (ran, False)):
        built = built.add_extension(extension, critical)
    return built.sign(key, hashes.SHA256())


WANTED = f"https://github.com/Own/Er/{attestation.WORKFLOW}@refs/heads/main"
HOSTED = "github-hosted"
OTHERS = {
    "the workflow's": (WANTED, keyless.ISSUER, HOSTED, True),
    "another workflow's": (WANTED.replace("release.yml", "propose.yml"), keyless.ISSUER, HOSTED, False),
    "another branch's": (WANTED.replace("main", "mine"), keyless.ISSUER, HOSTED, False),
    "a fork's": (WANTED.replace("Own/", "Fork/"), keyless.ISSUER, HOSTED, False),
    "another issuer's": (WANTED, "https://accounts.example.com", HOSTED, False),
    "a trainer's of one's own": (WANTED, keyless.ISSUER, "self-hosted", False),
}


@pytest.mark.parametrize("whose", OTHERS)
def test_only_the_release_workflow_of_this_repository_counts(
    monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    from sigstore.models import Bundle
    from sigstore.verify import Verifier

    identity, issuer, runner, counts = OTHERS[whose]

    def verify_dsse(bundle: bytes, policy) -> tuple[str, bytes]:
        policy.verify(certificate(identity, issuer, runner))
        return attestation.PAYLOAD, bundle

    monkeypatch.setattr(Verifier, "production", lambda: SimpleNamespace(verify_dsse=verify_dsse))
    monkeypatch.setattr(Bundle, "from_json", lambda content: content)
    workflow = keyless.Workflow("Own/Er", "refs/heads/main")
    if counts:
        assert workflow.verify(b"said") == (WANTED, b"said")
    else:
        with pytest.raises(Untrusted, match=r"is not signed by https://github\.com/Own/Er/"):
            workflow.verify(b"said")


def test_a_file_that_is_no_bundle_is_nobodys_word(monkeypatch: pytest.MonkeyPatch) -> None:
    from sigstore.verify import Verifier

    monkeypatch.setattr(Verifier, "production", lambda: None)
    with pytest.raises(Untrusted, match="is not signed by"):
        keyless.Workflow("o/r", "refs/heads/main").verify(b"{}")


@pytest.mark.parametrize(("private", "asks"), [(False, True), (True, False)])
def test_only_a_run_of_a_public_repository_signs_without_a_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, private: bool, asks: bool
) -> None:
    (tmp_path / "event.json").write_text(json.dumps({"repository": {"private": private}}))
    monkeypatch.setenv("GITHUB_EVENT_PATH", str(tmp_path / "event.json"))
    monkeypatch.setenv("GITHUB_API_URL", "https://api.github.com")
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_URL", raising=False)
    assert keyless.signer() is None
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", "https://example.com")
    assert (keyless.signer() is not None) == asks


def test_a_run_that_may_not_ask_who_it_is_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import nullcontext

    from sigstore import oidc
    from sigstore.models import ClientTrustConfig
    from sigstore.sign import SigningContext

    context = SimpleNamespace(signer=lambda identity: nullcontext())
    monkeypatch.setattr(ClientTrustConfig, "production", lambda: None)
    monkeypatch.setattr(SigningContext, "from_trust_config", lambda config: context)
    monkeypatch.setattr(oidc, "detect_credential", lambda: None)
    with pytest.raises(UserError, match="give the job `id-token: write`"):
        keyless.Keyless().sign(b"{}")
