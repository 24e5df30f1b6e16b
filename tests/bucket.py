"""An S3 on loopback, moto's, behind a door that answers late, denies, fails or has lost what a test says."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

Fault = str | float | None  # an error in S3's words, seconds to wait before the true answer, or none
STATUS = {
    "AccessDenied": "403 Forbidden",
    "NoSuchKey": "404 Not Found",
    "InternalError": "500 Internal Server Error",
}
BODY = "<Error><Code>{code}</Code><Message>{code}</Message></Error>"


@dataclass
class Bucket:
    """One bucket, at `url`. `answer` gets the method and the key of each request, which `asked` keeps."""

    name: str
    url: str = ""
    answer: Callable[[str, str], Fault] = lambda method, key: None
    asked: list[tuple[str, str]] = field(default_factory=list)

    @property
    def remote(self) -> str:
        return f"s3://{self.name}/dvc"

    @property
    def environment(self) -> dict[str, str]:
        """Credentials, and a region, of nobody."""
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
        return dict(zip(names, ("test", "test", "us-east-1"), strict=True))

    def lose(self, md5: str) -> None:
        self._s3().delete_object(Bucket=self.name, Key=key(md5))

    def has(self, md5: str) -> bool:
        found = self._s3().list_objects_v2(Bucket=self.name, Prefix=key(md5))
        return bool(found["KeyCount"] == 1)

    def _s3(self) -> Any:
        given = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
        return boto3.client("s3", endpoint_url=self.url, **given)


def key(md5: str) -> str:
    """Where DVC keeps the object of that MD5."""
    return f"dvc/files/md5/{md5[:2]}/{md5[2:]}"


@contextlib.contextmanager
def served(name: str) -> Iterator[Bucket]:
    """A bucket of that name, empty, at a port of 127.0.0.1."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto, bucket = DomainDispatcherApplication(create_backend_app), Bucket(name)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        asked = environ["PATH_INFO"].removeprefix(f"/{name}").lstrip("/")
        bucket.asked.append((method, asked))
        fault = bucket.answer(method, asked)
        if isinstance(fault, str):
            body = (BODY if asked else f"<ErrorResponse>{BODY}</ErrorResponse>").format(code=fault).encode()
            headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
            start_response(STATUS[fault], headers)
            return [] if method == "HEAD" else [body]
        time.sleep(fault or 0)
        found: Iterable[bytes] = moto(environ, start_response)
        return found

    server = make_server("127.0.0.1", 0, app, threaded=True)
    bucket.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        bucket._s3().create_bucket(Bucket=name)
        yield bucket
    finally:
        server.shutdown()
