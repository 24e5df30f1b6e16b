"""The default DVC remote: what the cache lacks of a folder, a model or an output, brought and hashed.

DVC brings too, in its own way: it takes names for content, tries a silent server again for many minutes, and
does not say what a remote has lost. So `ml` asks first, and DVC then finds what it needs in its cache."""

import contextlib
import queue
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pipelines.base import recorded
from pipelines.base.errors import UserError, one_line
from pipelines.training import tracked

PATIENCE_SECONDS = 60.0  # for a remote of which nothing comes
LOOK_SECONDS = 0.2
AT_ONCE = 8  # objects
NO_PLACE = re.compile(r"specified (bucket|container) does not exist", re.IGNORECASE)
DENIED = re.compile(r"Permission|Credential|Forbidden|AccessDenied|Unauthorized|\b40[13]\b", re.IGNORECASE)
PUT_BACK = "`ml push` puts it there"
WITHOUT = "`dvc config --local core.remote ''` goes on without it"


def bring(repo: tracked.Repo, names: Iterable[str]) -> list[str]:
    """Copy what the cache lacks of these objects, and of what the folders among them list, from the default
    DVC remote, where the bytes are those of the names. Returns the names that it does not have.

    UserError where the remote denies, fails or falls silent, and where a list names what it may not."""
    names = list(names)
    lost = bring_lists(repo, names)
    listed = [(tracked.listing(repo, n) or {}).values() if n.endswith(".dir") else [n] for n in names]
    files = dict.fromkeys(name for each in listed for name in each)
    return lost + _bring(repo, [name for name in files if not tracked.place(repo, name).is_file()])


def bring_lists(repo: tracked.Repo, names: Iterable[str]) -> list[str]:
    """The same for the lists of folders alone, each looked at before it counts: DVC would write wherever it
    says."""
    return _bring(repo, [n for n in names if n.endswith(".dir") and tracked.listing(repo, n) is None])


def there(repo: tracked.Repo) -> bool:
    """False for a remote that is a folder here and does not exist; a bucket that does not says so itself."""
    remote = _odb(repo)
    return remote.fs.protocol != "local" or Path(remote.path).is_dir()


def has(repo: tracked.Repo, name: str) -> bool:
    """Whether the remote has that object. UserError as `bring`."""
    [(_, answer)] = _answers(lambda name: _odb(repo).exists(name), [name], PATIENCE_SECONDS)
    if isinstance(answer, BaseException):
        raise refusal(repo, name, answer)
    return bool(answer)


def push(repo: tracked.Repo, names: Iterable[str]) -> int:
    """Copy what the remote lacks of these objects, and of what the folders among them list, from the cache
    into it; a list after its files. Returns how many. UserError where it denies, fails or falls silent.

    DVC remembers for a remote what it once saw there, and so never puts back what that has lost."""
    tracked.drop_bad(repo, names := list(names))
    lists = [name for name in names if name.endswith(".dir") and tracked.listing(repo, name) is not None]
    files = {name for each in lists for name in (tracked.listing(repo, each) or {}).values()}
    files |= {name for name in names if not name.endswith(".dir")}
    count = 0
    for part in (sorted(name for name in files if tracked.has(repo, [name])), sorted(lists)):
        for name, answer in _answers(lambda name: _put(repo, name), part, 10 * PATIENCE_SECONDS):
            if isinstance(answer, BaseException):
                raise refusal(repo, name, answer, "take", "write to")
            count += answer
    return count


def _put(repo: tracked.Repo, name: str) -> int:
    return int(_odb(repo).add(str(tracked.place(repo, name)), repo.cache.local.fs, name))


def _bring(repo: tracked.Repo, names: list[str]) -> list[str]:
    lost, lists = [], []
    Path(repo.tmp_dir).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=repo.tmp_dir, ignore_cleanup_errors=True) as into:
        folder = Path(into)

        def get(name: str) -> None:
            remote = _odb(repo)
            remote.fs.get_file(remote.oid_to_path(name), str(folder / name))

        def came() -> int:
            return sum(path.stat().st_size for path in list(folder.iterdir()) if path.exists())

        for name, answer in _answers(get, names, PATIENCE_SECONDS, came):
            if isinstance(answer, FileNotFoundError) and not NO_PLACE.search(str(answer)):
                lost.append(name)
            elif isinstance(answer, BaseException):
                raise refusal(repo, name, answer)
            elif recorded.md5(folder / name) != name.removesuffix(".dir"):
                lost.append(name)  # other bytes are not that object
            elif name.endswith(".dir"):
                recorded.listed((folder / name).read_bytes(), name)
                lists.append(name)
            else:
                _keep(repo, folder / name)
        for name in lists:  # only now: where one of them is refused, none is kept
            _keep(repo, folder / name)
    return sorted(lost)


def _keep(repo: tracked.Repo, came: Path) -> None:
    place = tracked.place(repo, came.name)
    place.parent.mkdir(parents=True, exist_ok=True)
    came.replace(place)


def _odb(repo: tracked.Repo) -> Any:
    return repo.cloud.get_remote_odb(hash_name="md5")


def _answers(
    work: Callable[[str], Any], names: list[str], patience: float, moved: Callable[[], int] = lambda: 0
) -> Iterator[tuple[str, Any]]:
    """Each name with what `work` returned for it, or raised, as it comes. Where nothing does for `patience`
    seconds, and no bytes have `moved`, one of those that wait has a TimeoutError, and the rest nothing.

    In threads that nobody waits for: a client may try a silent server again for as long as it likes."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    for name in names:
        waiting.put(name)

    def work_on() -> None:
        with contextlib.suppress(queue.Empty):
            while name := waiting.get_nowait():
                try:
                    done.put((name, work(name)))
                except BaseException as error:  # whatever the remote's client raises
                    done.put((name, error))

    for _ in range(min(AT_ONCE, len(names))):
        threading.Thread(target=work_on, daemon=True).start()
    left, before, heard = set(names), 0, time.monotonic()
    while left:
        try:
            name, answer = done.get(timeout=LOOK_SECONDS)
        except queue.Empty:
            if (now := moved()) != before:
                before, heard = now, time.monotonic()
            elif time.monotonic() - heard > patience:
                yield min(left), TimeoutError(f"nothing moved for {patience:g} s")
                return
        else:
            left.discard(name)
            heard = time.monotonic()
            yield name, answer


def refusal(
    repo: tracked.Repo, what: str, error: BaseException, did: str = "bring", may: str = "read"
) -> UserError:
    """What to raise where the remote did not bring, or take, something."""
    remote = repo.config["core"]["remote"]
    reason = one_line(f"{type(error).__name__}: {error}")
    if isinstance(error, FileNotFoundError):
        way_out = f"correct its url (`dvc remote modify {remote} url`), or make the place"
    elif DENIED.search(reason):
        way_out = f"give this machine a role or keys that may {may} it (docs/remotes/)"
    else:
        way_out = "run this again when it answers"
    without = f", or {WITHOUT}" if did == "bring" else ""
    return UserError(f"the DVC remote {remote!r} did not {did} {what}: {reason}: {way_out}{without}")
