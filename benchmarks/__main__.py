"""`make bench`: the benchmarks one after the other, each a process of its own. A signal ends them all."""

import sys
from pathlib import Path

from pipelines.base import programs
from pipelines.base.signals import Interrupted, interruptible


def main(names: list[str]) -> int:
    """Run them, all where none is named: 0, or the exit code of the first that fails, with which it ends."""
    here = programs.environment(own_code=True)
    for name in names or sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py")):
        benchmark = None
        try:
            with interruptible():
                command = [sys.executable, "-m", f"benchmarks.{name}"]
                benchmark = programs.start(command, env=here, stdout=None, stderr=None)
                code = benchmark.wait()
        except Interrupted as signal:
            if benchmark:
                benchmark.send_signal(signal.exit_code - 128)
                benchmark.wait()
            return signal.exit_code
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
