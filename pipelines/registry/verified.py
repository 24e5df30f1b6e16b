"""Whether a release is what somebody that counts has signed: for `ml release --verify`, and a host."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.artifacts.entry import Entry
from pipelines.artifacts.release import Release
from pipelines.base.console import step
from pipelines.base.errors import UserError, one_line
from pipelines.registry import attestation, merged
from pipelines.registry.attestation import CYCLONEDX, SBOM, Verifier
from pipelines.registry.images import CHECKING, Changed, Images
from pipelines.registry.signing import Untrusted


class Unattested(Untrusted):
    """No file is there that one of those asked could take."""


def check(
    folder: Path,
    verifiers: Sequence[Verifier],
    repository: str,
    entry: Entry | None = None,
    checkout: Path | str = ".",
) -> list[str]:
    """What was checked of the release in a folder, a line each. Untrusted, which says why, where it is not
    what was signed, Unattested where nothing is; UserError where its commit was never merged.

    `repository` is ours, OWNER/NAME; `entry` what names the release, where a host asks."""
    about, found = Release.read(folder), list[str]()
    named = about.image.reference if about.image else None
    if entry and entry.image != named:
        raise Untrusted(f"has the image {one_line(named)}, and the ledger's entry names {entry.image}")
    branch = merged.default_branch(checkout)
    for verifier in verifiers:
        if (path := folder / "evidence" / verifier.file).is_file():
            try:
                who, payload = verifier.verify(path.read_bytes())
                lines = attestation.fits(attestation.read(payload), folder, repository, branch)
            except Untrusted as reason:
                raise Untrusted(f"evidence/{verifier.file} {reason}") from None
            found += [f"evidence/{verifier.file}: signed by {who}", *(f"  {line}" for line in lines)]
    if not found:
        names = " and ".join(f"evidence/{verifier.file}" for verifier in verifiers)
        raise Unattested(
            f"has no {names}: run `ml release` again at its commit {about.commit[:12]}, with a key"
        )
    if why := merged.another_start(folder):
        raise Untrusted(f"is not started as it was made: {why}")
    merged.require_merged(about.commit, checkout)
    found.append(f"the commit {about.commit[:12]} was merged into {branch.removeprefix('refs/heads/')}")
    return found + in_registry(about, folder)


def in_registry(about: Release, folder: Path) -> list[str]:
    """The same of the image where it was pushed to. A registry that does not answer is only said: the image
    and its SBOM are as they were signed, and a way forward or back must not hang on another machine."""
    if about.image is None:
        return ["no image was pushed"]
    if about.image.reference is None:
        return [f"no image was pushed: {one_line(about.image.name)} is an engine's, and nobody has signed it"]
    there = Images.of(about.image.name).in_haste()
    sbom = (folder / "evidence" / SBOM).read_bytes()
    patience = f"about {CHECKING.failing:g} s at most"
    step(f"asking the registry {there.name} for the image and its SBOM, {patience}")
    try:
        manifest, attached = there.manifest(about.image.digest), there.attached(about.image.digest, CYCLONEDX)
    except Changed as reason:
        raise Untrusted(f"has an image that is not to be had: {reason}") from None
    except UserError as reason:
        return [f"not seen in the registry: {reason}"]
    if manifest is None:
        raise Untrusted(f"has an image that {there.name} does not have ({about.image.digest[:19]})")
    if sbom not in attached:
        raise Untrusted(f"has another SBOM than {there.name} has beside the image")
    return [f"{about.image.reference} is in the registry, with the same SBOM beside it"]
