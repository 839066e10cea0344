"""Folders that belong to one run, and go with it."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def private_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A fresh folder in `parent`, readable by us alone, removed at the end of the block.

    Folders that killed runs left behind under the same prefix are removed first. The owner of a folder is whoever
    holds the lock on it: the kernel lets go of the lock when the owner dies, however it dies, so a reused process id
    or a neighbour in another container is never mistaken for the owner.
    """
    _remove_abandoned(parent, prefix)
    folder, lock = _new_locked_folder(parent, prefix)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _new_locked_folder(parent: Path, prefix: str) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent)).absolute()
        lock = _lock(folder)
        if lock is not None:
            return folder, lock
        # Between its birth and its lock, a neighbour took the folder for an abandoned one.


def _remove_abandoned(parent: Path, prefix: str) -> None:
    for folder in parent.glob(f"{prefix}*"):
        lock = _lock(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """A descriptor that holds the lock on a folder of ours, or None: it is gone, not ours, or its owner lives."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = os.fstat(lock)
        if held.st_uid == os.geteuid() and os.path.samestat(held, os.lstat(folder)):
            return lock
    except OSError:
        pass
    os.close(lock)
    return None
