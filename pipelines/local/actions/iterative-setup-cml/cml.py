"""`cml comment update --target=pr/N --watermark-title=T --publish=false FILE`, against $GITHUB_API_URL.

The one command of CML that the workflows use. Like CML it looks only at the first page of comments.
"""

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

LIMIT = 65536  # characters of a comment


def call(method: str, path: str, body: str | None = None) -> Any:
    token = os.environ.get("REPO_TOKEN") or os.environ.get("GITHUB_TOKEN")
    if not token:
        sys.exit("cml: REPO_TOKEN is not set")
    request = urllib.request.Request(
        os.environ["GITHUB_API_URL"].rstrip("/") + path,
        method=method,
        data=None if body is None else json.dumps({"body": body}).encode(),
        headers={"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        sys.exit(f"cml: {method} {path}: {error.code} {error.read().decode(errors='replace')[:200]}")


parser = argparse.ArgumentParser(prog="cml", allow_abbrev=False)
parser.add_argument("noun", choices=["comment"])
parser.add_argument("verb", choices=["update", "create"])
parser.add_argument("--target", required=True)
parser.add_argument("--watermark-title", default="")
parser.add_argument("--publish", choices=["true", "false"], default="true")
parser.add_argument("--repo", default="")
parser.add_argument("file", type=Path)
wanted = parser.parse_args()
kind, _, number = wanted.target.partition("/")
if kind != "pr" or not number.isdigit():
    sys.exit(f"cml: the stand-in knows --target=pr/NUMBER, not {wanted.target!r}")
title = wanted.watermark_title or "CML watermark"
body = f'{wanted.file.read_text(encoding="utf-8")}\n\n![](https://cml.dev/watermark.png#1 "{title}")'
if len(body) > LIMIT:
    sys.exit(f"cml: the comment has {len(body)} characters; the limit is {LIMIT}")
issues = f"/repos/{os.environ['GITHUB_REPOSITORY']}/issues"
comments = f"{issues}/{number}/comments"
old = [comment for comment in call("GET", comments) if f'"{title}")' in comment["body"]]
if wanted.verb == "update" and old:
    answer = call("PATCH", f"{issues}/comments/{old[-1]['id']}", body)
else:
    answer = call("POST", comments, body)
print(answer["html_url"])
