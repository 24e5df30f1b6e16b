"""Runs in the build of an image, as its last step: bytecode of what the service imports before it is ready.

Without bytecode the server of a read-only image compiles 900 files at each start; that of all packages would
be more than twice as large. Nothing holds it to its source (UNCHECKED_HASH): so it is the same bytes at each
build, and no file of an image changes."""

import importlib
import importlib.util
import py_compile
import sys
from pathlib import Path

BENTO = Path("/bento/src")
# what only a command, a worker or a first request imports
STARTS = (
    "anyio.from_thread",
    "asgiref.sync",
    "bentoml._internal.log",
    "bentoml._internal.server.metrics.prometheus",
    "bentoml.serving",
    "bentoml_cli.cli",
    "bentoml_cli.serve",
    "_bentoml_impl.client",
    "_bentoml_impl.loader",
    "_bentoml_impl.server.app",
    "_bentoml_impl.server.serving",
    "_bentoml_impl.worker.service",
    "onnxruntime",
    "opentelemetry.instrumentation.asgi",
    "opentelemetry.sdk.trace.sampling",
    "prometheus_client.asgi",
    "prometheus_client.multiprocess",
    "pynvml",
    "tornado.platform.asyncio",
    "uvicorn.lifespan.on",
    "uvicorn.loops.asyncio",
    "uvicorn.protocols.http.h11_impl",
    "uvicorn.protocols.websockets.wsproto_impl",
)


def main(service: str) -> None:
    """Compile, where there is no bytecode yet."""
    sys.path.insert(0, str(BENTO))
    for name in (*STARTS, service):
        importlib.import_module(name)
    files = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
    for file in sorted(file for file in files if file.endswith(".py")):
        if not Path(importlib.util.cache_from_source(file)).exists():
            py_compile.compile(
                file, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
            )


if __name__ == "__main__":
    main(sys.argv[1])
