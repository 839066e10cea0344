"""Small disks that can be filled up: a tmpfs for each server's data, where this machine lets us mount one."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_LARGEST_STEP = 1 << 26
_SMALLEST_STEP = 1 << 12
_NEW_MOUNT_NAMESPACE = 0x00020000


@dataclass(frozen=True, slots=True)
class Disk:
    """A folder for a server's data. `is_small`: a file system of its own, which can be filled up."""

    folder: Path
    is_small: bool

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"

    def fill(self, leave_bytes: int = 0) -> None:
        """Writes ballast until no more than so much is free; only on a disk of its own."""
        if not self.is_small:
            raise RuntimeError("only a disk of its own may be filled")
        with self._ballast.open("ab") as ballast:
            step = _LARGEST_STEP
            while (room := self.free() - leave_bytes) > 0 and step >= _SMALLEST_STEP:
                try:
                    os.posix_fallocate(ballast.fileno(), os.fstat(ballast.fileno()).st_size, min(room, step))
                except OSError:
                    step //= 2

    def release(self) -> None:
        """Removes the ballast."""
        self._ballast.unlink(missing_ok=True)

    def free(self) -> int:
        """Bytes that are free for anybody."""
        figures = os.statvfs(self.folder)
        return figures.f_bavail * figures.f_frsize


def keep_mounts_to_ourselves() -> None:
    """What this process mounts is seen by itself and its children alone, and goes with the last of them, however it
    ends. Does nothing where that is not allowed: then nothing can be mounted either."""
    if ctypes.CDLL(None).unshare(_NEW_MOUNT_NAMESPACE) == 0:
        _succeeds("mount", "--make-rprivate", "/")


@contextmanager
def disk(folder: Path, megabytes: int) -> Iterator[Disk]:
    """A disk of so many megabytes at `folder`, unmounted at the end; a plain folder where mounting is not allowed."""
    folder.mkdir()
    mounted = _succeeds("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0711", "tmpfs", str(folder))
    try:
        yield Disk(folder, mounted)
    finally:
        if mounted:
            _succeeds("umount", "--lazy", str(folder))


def _succeeds(*command: str) -> bool:
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except OSError:
        return False
