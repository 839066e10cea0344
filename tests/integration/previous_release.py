"""The code of the release before this one, out of git, beside the checkout."""

import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_VERSION = re.compile(r"v(\d+)\.(\d+)\.(\d+)")


class NoHistory(Exception):
    """There is no release before this one to be had; the text says why."""


@dataclass(frozen=True, slots=True)
class Release:
    """A release's code in a folder: first in PYTHONPATH, it runs instead of the checkout's."""

    version: str
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a process of this release is started with."""
        return {"PYTHONPATH": str(self.folder)}


def previous_release(folder: Path) -> Release:
    """The previous release, unpacked into a folder. Raises NoHistory."""
    commit = _commit()
    archive = _git("archive", "--format=tar", commit, "pyproject.toml", "order_service", "migrations")
    subprocess.run(["tar", "--extract", "--directory", str(folder)], input=archive, check=True, timeout=30)
    version = _version_in((folder / "pyproject.toml").read_text())
    # What tells its version: without this it would be that of the checkout, which is installed.
    told = folder / f"order_service-{version}.dist-info"
    told.mkdir()
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: order-service\nVersion: {version}\n")
    release = Release(version, folder)
    _check_that_it_runs(release)
    return release


def _commit() -> str:
    """The last release's tag below this version; else the commit before the one that made it this version."""
    if Path(_text("rev-parse", "--show-toplevel").strip()) != ROOT:
        raise NoHistory("this folder is no checkout")
    here = _version_in((ROOT / "pyproject.toml").read_text())
    if tags := sorted(tag for tag in _text("tag", "--list", "v*").split() if _key(tag) < _key(f"v{here}")):
        return max(tags, key=_key)
    if _version_in(_text("show", "HEAD:pyproject.toml")) != here:
        return "HEAD"
    changed = _text("log", "-1", "--format=%H", "-G", "^version = ", "--", "pyproject.toml").strip()
    try:
        _text("cat-file", "-e", f"{changed}^:pyproject.toml")
    except NoHistory:
        raise NoHistory(f"no commit is known that is older than version {here}: a shallow clone?") from None
    return f"{changed}^"


def _key(tag: str) -> tuple[int, ...]:
    """Sorts releases; what is none comes after all."""
    found = _VERSION.fullmatch(tag)
    return tuple(map(int, found.groups())) if found else (sys.maxsize,)


def _version_in(pyproject: str) -> str:
    return str(tomllib.loads(pyproject)["project"]["version"])


def _text(*arguments: str) -> str:
    return _git(*arguments).decode()


def _git(*arguments: str) -> bytes:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=True, timeout=30)
    except FileNotFoundError as error:
        raise NoHistory("git is not installed") from error
    except subprocess.CalledProcessError as error:
        told = error.stderr.decode(errors="replace").strip().splitlines()
        raise NoHistory(f"git {arguments[0]}: {told[-1] if told else 'failed'}") from error
    return done.stdout


def _check_that_it_runs(release: Release) -> None:
    """That a process started so imports the release's code and no other."""
    ask = "import order_service.storage.migrations as m; print(m.__file__)"
    command = [sys.executable, "-P", "-c", ask]
    done = subprocess.run(command, env=release.environment, cwd="/", capture_output=True, check=True, timeout=60)
    if not Path(done.stdout.decode().strip()).is_relative_to(release.folder):
        raise AssertionError(f"the previous release's code is not what runs: {done.stdout.decode()}")
