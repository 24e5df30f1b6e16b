"""Which repository of GitHub this checkout is, where its API is, and the token to ask it with."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from pipelines.base import git, programs
from pipelines.base import github as client
from pipelines.base.errors import UserError
from pipelines.base.github import API, SITE, GitHub, hosted

PATIENCE_SECONDS = 20.0


@dataclass(frozen=True)
class Where:
    """A repository: `host` is the machine of its pages, `name` is OWNER/NAME."""

    host: str
    name: str
    api: str

    @property
    def pages(self) -> str:
        """The address of its pages."""
        return f"https://{self.host}/{self.name}"

    def hub(self) -> GitHub:
        """Its API. UserError where there is no token for it."""
        return GitHub(self.api, self.name, token(self.host))


def found(checkout: Path = Path(), name: str = "") -> Where:
    """By `name`, else GITHUB_REPOSITORY, else the remote `origin`; its API at GITHUB_API_URL, else where a
    GitHub of that host has it. UserError where none of them names a repository."""
    name = name or os.environ.get("GITHUB_REPOSITORY", "")
    host, told = hosted(git.remote_url(at=checkout)) or (SITE, "")
    name = name or told
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        what = f"{name!r} is not" if name else "the remote origin does not name"
        raise UserError(f"{what} a repository on GitHub: give --repository OWNER/NAME")
    api = os.environ.get("GITHUB_API_URL") or api_of(host)
    if not re.match(r"https?://", api):
        raise UserError(f"GITHUB_API_URL is {api!r}: write it as https://HOST/api/v3")
    return Where(host, name, api.rstrip("/"))


def api_of(host: str) -> str:
    """Where a host of GitHub's pages has its API: github.com, a company's at ghe.com, or its own server."""
    if host == SITE:
        return API
    return f"https://api.{host}" if host.endswith(".ghe.com") else f"https://{host}/api/v3"


def token(host: str) -> str:
    """GITHUB_TOKEN or GH_TOKEN, as GitHub's own program takes them: for github.com, and for another server
    only where GITHUB_API_URL names it, since whoever a remote names would read it; GH_ENTERPRISE_TOKEN for
    any other; else the one that program has. UserError where there is none."""
    own = host == SITE or host.endswith(".ghe.com") or bool(os.environ.get("GITHUB_API_URL"))
    if known := client.token() if own else os.environ.get("GH_ENTERPRISE_TOKEN", ""):
        return known
    if program := programs.find("gh"):
        done = programs.run([program, "auth", "token", "--hostname", host], timeout=PATIENCE_SECONDS)
        if done.returncode == 0 and (told := done.stdout.strip()):
            return told
    if own:
        way_out = "run `gh auth login`, or set GITHUB_TOKEN to one of an administrator"
    else:  # anybody's: GitLab's too
        way_out = "if it is a server of GitHub, "
        way_out += f"run `gh auth login --hostname {host}`, or set GH_ENTERPRISE_TOKEN to one of an "
        way_out += "administrator; else let the remote origin be on GitHub"
    raise UserError(f"no token for {host}: {way_out}")
