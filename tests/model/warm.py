"""In place of pipelines.base.programs: the judge's processes are forks of one that has done the imports."""

import importlib
import multiprocessing
import os
import sys
from collections.abc import Sequence
from multiprocessing.reduction import DupFd
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["pipelines.judge.retrain", "pipelines.judge.answers", "pipelines.judge.window", "skl2onnx"]
)


def environment(**given: Any) -> dict[str, str]:
    return {}


def start(command: Sequence[str], **options: Any) -> "Process":
    """`python -P -m MODULE WORD...`, asked and answering through pipes."""
    return Process(command[3], command[4:])


class Process:
    """What contained.Process takes of a Popen."""

    def __init__(self, module: str, words: Sequence[str]) -> None:
        (asked, to), (answered, answers) = os.pipe(), os.pipe()
        self.stdin, self.stdout = os.fdopen(to, "wb", buffering=0), os.fdopen(answered, "rb", buffering=0)
        self._process = CONTEXT.Process(target=_run, args=(module, words, DupFd(asked), DupFd(answers)))
        self._process.start()
        os.close(asked)
        os.close(answers)

    def kill(self) -> None:
        self._process.kill()

    def wait(self) -> None:
        self._process.join()


def _run(module: str, words: Sequence[str], asked: Any, answers: Any) -> None:
    os.dup2(asked.detach(), 0)
    os.dup2(answers.detach(), 1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    sys.stdin = os.fdopen(0, closefd=False)
    importlib.import_module(module).main(*words)
