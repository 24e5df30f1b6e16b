"""GitHub's API, as far as the verbs that run in workflows need it."""

import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from pipelines.errors import UserError

MOST = 3000  # entries of a list; GitHub itself lists no more files of a pull request
SENTENCE_LIMIT = 140  # characters of a commit status


@dataclass(frozen=True)
class GitHub:
    """The API of one repository; paths are below /repos/OWNER/NAME."""

    url: str
    token: str

    @classmethod
    def from_environment(cls) -> "GitHub":
        """From the variables that every workflow has, and GITHUB_TOKEN, which its step must be given."""
        try:
            token, repository = os.environ["GITHUB_TOKEN"], os.environ["GITHUB_REPOSITORY"]
        except KeyError as error:
            raise UserError(f"{error.args[0]} is not set: this verb runs in a workflow") from None
        api = os.environ.get("GITHUB_API_URL", "https://api.github.com").rstrip("/")
        return cls(f"{api}/repos/{repository}", token)

    def list(self, path: str, field: str | None = None) -> list[dict[str, Any]]:
        """All pages of a list, at most MOST entries; `field` is its name where the answer is an object."""
        found: list[dict[str, Any]] = []
        for page in range(1, MOST // 100 + 1):
            mark = "&" if "?" in path else "?"
            answer = self.call("GET", f"{path}{mark}per_page=100&page={page}")
            part = answer[field] if field else answer
            found += part
            if len(part) < 100:
                break
        return found

    def call(self, method: str, path: str, body: Any = None, missing: Any = None) -> Any:
        """One call; `missing`, where given, is the answer for 404. UserError for every other refusal."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.token}",
                "Accept": "application/vnd.github+json",
                "X-GitHub-Api-Version": "2022-11-28",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 404 and missing is not None:
                return missing
            message = one_line(error.read(1000).decode(errors="replace"))
            raise UserError(f"GitHub refused {method} {path}: {error.code} {message}") from None
        except OSError as error:
            raise UserError(f"GitHub does not answer at {self.url}: {error}") from None

    def status(self, sha: str, context: str, state: str, sentence: str, page: str | None) -> None:
        """Set a commit status; a sentence that is too long for it is cut."""
        cut = sentence if len(sentence) <= SENTENCE_LIMIT else sentence[: SENTENCE_LIMIT - 1] + "…"
        body = {"state": state, "context": context, "description": cut, "target_url": page}
        self.call("POST", f"/statuses/{sha}", body)
        print(f"{context} on {sha[:12]}: {state}: {cut}")


def one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:SENTENCE_LIMIT]
