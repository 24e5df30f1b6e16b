"""What a proposal's build left, and the files of its commit that need nobody's word."""

import re
from pathlib import Path

from pipelines.base.console import step
from pipelines.base.errors import UserError
from pipelines.base.files import write_bytes
from pipelines.base.github import GitHub
from pipelines.pulls import proposals

FILES = ("params.yaml", "dvc.lock", "data.dvc")


def run(folder: Path, head: str) -> None:
    """`ml ci candidate`: replace FILES in `folder` by those of the commit `head`, as GitHub has them: the
    build ran the proposal's own code, and may say otherwise than what is merged. UserError where
    the commit has one that is a link, a folder or very large, or none."""
    if not re.fullmatch(r"[0-9a-f]{40}", head):
        raise UserError(f"--head is {head!r}, not a commit's SHA")
    github = GitHub.from_environment()
    files = proposals.files(github, head)
    for name in FILES:
        try:
            write_bytes(folder / name, proposals.content(github, files.get(name)))
        except (UserError, OSError) as error:
            raise UserError(f"{name} of {head[:12]} cannot be judged: {error}") from None
    step(f"{', '.join(FILES)} are those of {head[:12]}")
