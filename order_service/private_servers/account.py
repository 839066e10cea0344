"""The account that PostgreSQL runs as, because it refuses to run as root."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from order_service.private_servers.unavailable import ServerUnavailable

MISSING_SETPRIV = "servers are started with setpriv, which is missing: run 'sudo apt-get install util-linux'"


@dataclass(frozen=True, slots=True)
class Account:
    name: str
    uid: int
    gid: int

    def setpriv_options(self) -> list[str]:
        """What makes setpriv give up root for this account, with none of root's groups kept."""
        return [f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups"]

    def reaches(self, folder: Path) -> bool:
        """Whether the account may write in the folder, by trying as the account."""
        try:
            trial = ["setpriv", *self.setpriv_options(), "--", "test", "-w", str(folder), "-a", "-x", str(folder)]
            return subprocess.run(trial, check=False, cwd="/", stderr=subprocess.DEVNULL).returncode == 0
        except FileNotFoundError as error:
            raise ServerUnavailable(MISSING_SETPRIV) from error


def unprivileged_account() -> Account | None:
    """None when we are not root, and so may stay who we are; else `postgres` where it exists, or `nobody`."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
