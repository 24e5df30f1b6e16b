"""What runs beside a chapter of the demo is shown when it is its turn, whole and in order."""

import sys
import threading

import pytest

from pipelines.base import console
from pipelines.base.errors import UserError
from pipelines.local import aside
from pipelines.local.aside import Aside


def test_what_is_said_beside_is_kept_until_its_turn(capsys: pytest.CaptureFixture[str]) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def beside() -> int:
        print("beside: one")
        begun.set()
        assert go_on.wait(10)
        print("beside: two")
        return 7

    with console.through(aside.Apart):
        other = Aside(beside)
        assert begun.wait(10)
        print("chapter")
        go_on.set()
        assert (other.show(), other.made()) == (7, 7)
    print("after")
    assert capsys.readouterr().out.splitlines() == ["chapter", "beside: one", "beside: two", "after"]


def test_one_beside_another_is_shown_within_it(capsys: pytest.CaptureFixture[str]) -> None:
    with console.through(aside.Apart):
        inner = Aside(lambda: print("inner"))

        def outer() -> None:
            print("before")
            inner.show()
            print("behind")

        shown = Aside(outer)
        inner.made()
        print("chapter")
        shown.show()
    assert capsys.readouterr().out.splitlines() == ["chapter", "before", "inner", "behind"]


def test_what_follows_one_that_failed_does_not_run_and_fails_too(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        print("said before")
        raise UserError("no")

    with console.through(aside.Apart):
        failed = Aside(fail)
        after = Aside(lambda: print("must not be said"), after=failed)
        for one in (failed, after):
            with pytest.raises(UserError, match="no"):
                one.show()
    assert capsys.readouterr().out == "said before\n"


@pytest.mark.parametrize(("quiet", "said"), [(True, "err\n"), (False, "out\nerr\n")])
def test_a_program_says_what_its_thread_says(
    quiet: bool, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    program = "import sys; print('out', flush=True); print('err', file=sys.stderr); sys.exit(3)"
    with console.through(aside.Apart):
        ran = Aside(lambda: aside.run([sys.executable, "-c", program], quiet))
        ran.made()
        assert capsys.readouterr().err == ""
        assert ran.show() == 3
    assert capsys.readouterr().err == said
