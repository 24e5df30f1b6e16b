"""What is signed of a release: an in-toto Statement (v1) that names the release, its image (HOST/PATH) and
SBOM by their SHA-256, and says by SLSA provenance (v1) which repository, workflow, commit and run made them,
and on which base the image was built.

It is in a DSSE envelope (1.0) in the release's evidence/, and beside the image in the registry. Two kinds of
signers make it: a key of one's own (SSHSIG, whose public half is in `allowed_signers`), and the identity of a
workflow's run on GitHub (`keyless`)."""

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from pydantic import BaseModel, Field, ValidationError

from pipelines.artifacts.release import Release
from pipelines.base.errors import one_line
from pipelines.base.files import sha256, sha256_of_tree
from pipelines.registry.oci import canonical
from pipelines.registry.signing import Signer as Key
from pipelines.registry.signing import Signers, Untrusted

ATTESTATION, SBOM = "attestation.json", "sbom.cdx.json"  # in evidence/
NAMESPACE = "greenlight-release"  # so that no signature of anything else is one of a release
PAYLOAD, ENVELOPE = "application/vnd.in-toto+json", "application/vnd.dsse.envelope.v1+json"
CYCLONEDX = "application/vnd.cyclonedx+json"
STATEMENT, PROVENANCE = "https://in-toto.io/Statement/v1", "https://slsa.dev/provenance/v1"
BUILD = "https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1"
WORKFLOW = ".github/workflows/release.yml"
HERE = "urn:greenlight:local"  # who built, where that was no workflow


class Signer(Protocol):
    """Makes an attestation of a statement."""

    @property
    def file(self) -> str:
        """Its name in evidence/."""

    @property
    def media(self) -> str:
        """What it is in a registry."""

    def sign(self, statement: bytes) -> bytes:
        """The attestation's file. UserError where it cannot be made."""


class Verifier(Protocol):
    """Takes an attestation of one kind."""

    @property
    def file(self) -> str:
        """Its name in evidence/."""

    def verify(self, content: bytes) -> tuple[str, bytes]:
        """Who signed, and the statement. Untrusted where nobody that counts did."""


@dataclass(frozen=True)
class OwnKey:
    """Signs with a key of one's own: the ledger's."""

    key: Key
    file: str = ATTESTATION
    media: str = ENVELOPE

    def sign(self, statement: bytes) -> bytes:
        """A DSSE envelope."""
        signature = self.key.signature(pae(statement), NAMESPACE)
        held = {"keyid": self.key.fingerprint, "sig": base64.b64encode(signature).decode()}
        payload = base64.b64encode(statement).decode()
        return canonical({"payloadType": PAYLOAD, "payload": payload, "signatures": [held]}) + b"\n"


@dataclass(frozen=True)
class ListedKeys:
    """Takes what one of the listed keys signed."""

    listed: Signers
    file: str = ATTESTATION

    def verify(self, content: bytes) -> tuple[str, bytes]:
        """By the list, as it is now."""
        try:
            said = json.loads(content)
            (held,) = said["signatures"]
            payload, signature = (
                base64.b64decode(text, validate=True) for text in (said["payload"], held["sig"])
            )
            kind = said["payloadType"]
        except (ValueError, KeyError, TypeError):
            raise Untrusted("is not a DSSE envelope with one signature") from None
        if kind != PAYLOAD:
            raise Untrusted(f"holds {one_line(kind)}, not a statement")
        return self.listed.whose(pae(payload), signature, NAMESPACE), payload


def pae(payload: bytes) -> bytes:
    """What DSSE signs: its pre-authentication encoding of the payload and its type."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD), PAYLOAD.encode(), len(payload), payload)


class Subject(BaseModel):
    """One thing that a statement is about."""

    name: str
    digest: dict[str, str]


class _Statement(BaseModel):
    kind: str = Field(alias="_type")
    subject: list[Subject]
    predicateType: str
    predicate: dict[str, Any]


@dataclass(frozen=True)
class Told:
    """What a statement says: SHA-256s by name, and where they come from. `workflow` and `ref` are empty where
    no workflow made them; `base` is None where the signer did not build the image, or did so by an earlier
    version."""

    subjects: Mapping[str, str]
    repository: str
    workflow: str
    ref: str
    commit: str
    builder: str
    base: tuple[str, str] | None  # its package URL, and its SHA-256


def statement(folder: Path, repository: str, built: bool = True) -> bytes:
    """The statement of the release in a folder, as this process is run; `repository` is OWNER/NAME; `built`:
    its image was, here, so that release.json's word on its base is ours."""
    about = Release.read(folder)
    path, _, ref = os.environ.get("GITHUB_WORKFLOW_REF", "").partition("@")
    workflow = "/".join(path.split("/")[2:])
    server = os.environ.get("GITHUB_SERVER_URL") or "https://github.com"
    run = f"{server}/{repository}/actions/runs/{os.environ.get('GITHUB_RUN_ID', '')}" if workflow else ""
    source = {"uri": f"git+{server}/{repository}", "digest": {"gitCommit": about.commit}}
    bases = [{"uri": base[0], "digest": {"sha256": base[1]}}] if built and (base := _base(about)) else []
    made_by = {"ref": ref, "repository": f"{server}/{repository}", "path": workflow}
    return canonical(
        {
            "_type": STATEMENT,
            "subject": [{"name": n, "digest": {"sha256": h}} for n, h in _subjects(folder, about).items()],
            "predicateType": PROVENANCE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD,
                    "externalParameters": {"workflow": made_by},
                    "resolvedDependencies": [source, *bases],
                },
                "runDetails": {
                    "builder": {"id": f"{server}/actions/runner" if workflow else HERE},
                    "metadata": {"invocationId": run},
                },
            },
        }
    )


def _subjects(folder: Path, about: Release) -> dict[str, str]:
    found = {"release": sha256_of_tree(folder / "bento" / "src")}
    if about.image and about.image.reference:
        found[about.image.name] = about.image.digest.removeprefix("sha256:")
    if (sbom := folder / "evidence" / SBOM).is_file():
        found[SBOM] = sha256(sbom)
    return found


def _base(about: Release) -> tuple[str, str] | None:
    """The base of a pushed image, NAME[:TAG]@sha256:..., as BuildKit's provenance names one; its SHA-256."""
    if not about.image or not about.image.reference:
        return None
    name, _, digest = about.image.base.partition("@sha256:")
    host, slash, last = name.rpartition("/")
    path, colon, tag = last.partition(":")
    version = f"@{quote(tag, safe='')}" if colon else ""
    return (f"pkg:docker/{quote(host + slash + path, safe='/:')}{version}", digest) if digest else None


def read(payload: bytes) -> Told:
    """What a signed statement says. Untrusted where it is not one of a release's provenance."""
    try:
        said = _Statement.model_validate_json(payload)
        build, run = said.predicate["buildDefinition"], said.predicate["runDetails"]
        workflow, (source, *bases) = build["externalParameters"]["workflow"], build["resolvedDependencies"]
        base = None
        if bases:
            (one,) = bases
            base = (str(one["uri"]), str(one["digest"]["sha256"]))
        told = Told(
            subjects={one.name: one.digest["sha256"] for one in said.subject},
            repository="/".join(str(workflow["repository"]).split("/")[-2:]).lower(),
            workflow=str(workflow["path"]),
            ref=str(workflow["ref"]),
            commit=str(source["digest"]["gitCommit"]),
            builder=str(run["builder"]["id"]),
            base=base,
        )
    except (ValidationError, ValueError, KeyError, TypeError, AttributeError):
        raise Untrusted("is not a statement of a release's provenance") from None
    if (said.kind, said.predicateType) != (STATEMENT, PROVENANCE):
        raise Untrusted(f"is of the kind {one_line(said.predicateType)}, not {PROVENANCE}")
    return told


def fits(told: Told, folder: Path, repository: str, branch: str) -> list[str]:
    """What was compared of a statement and the release in a folder, a line each. Untrusted if they differ.

    `repository` is OWNER/NAME, `branch` its default one, refs/heads/NAME."""
    about, found = Release.read(folder), []
    ours = _subjects(folder, about)
    for name in dict.fromkeys((*ours, *told.subjects)):
        if told.subjects.get(name) != ours.get(name):
            signed, here = (str(which.get(name, "none"))[:12] for which in (told.subjects, ours))
            raise Untrusted(f"is of another {one_line(name, 90)}: {signed} was signed, and here is {here}")
        found.append(f"{name}: SHA-256 {ours[name]}")
    if told.base and told.base != (base := _base(about)):
        signed, here = (one_line(" ".join(which or ("none",)), 90) for which in (told.base, base))
        raise Untrusted(f"is of another base of the image: {signed} was signed, and here is {here}")
    if about.image and about.image.reference:
        base_is = f"on the base {one_line(about.image.base)}"
        found.append(base_is if told.base else f"{base_is}, which nobody has signed")
    if SBOM in ours:
        of = _image_of((folder / "evidence" / SBOM).read_bytes())
        if about.image is None or of != about.image.digest:
            raise Untrusted(f"names an SBOM of another image ({one_line(of, 80)})")
        found.append(f"{SBOM} is that of the image")
    if told.repository != repository:
        raise Untrusted(f"is of the repository {one_line(told.repository)}, and this is {repository}")
    if told.commit != about.commit:
        raise Untrusted(
            f"is of the commit {one_line(told.commit)[:12]}, and release.json of {about.commit[:12]}"
        )
    found.append(f"made from {repository} at {told.commit}")
    if (told.workflow, told.ref) not in ((WORKFLOW, branch), ("", "")):
        raise Untrusted(
            f"was made by {one_line(told.workflow)} on {one_line(told.ref)}, not {WORKFLOW} on {branch}"
        )
    found.append(
        f"by {told.workflow} on {told.ref}" if told.workflow else "by a person's machine, in no workflow"
    )
    return found


def _image_of(sbom: bytes) -> object:
    try:
        return json.loads(sbom)["metadata"]["component"]["version"]
    except (ValueError, KeyError, TypeError):
        return "none"
