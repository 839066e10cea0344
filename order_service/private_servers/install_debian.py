"""Installing Debian packages with apt-get, without starting or enabling a system service."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass

from order_service.private_servers.interrupts import interrupts_deferred
from order_service.private_servers.unavailable import ServerUnavailable

# Debian asks policy-rc.d before it starts a service; 101 means no. One that is there already is left as it is, unless
# a killed install of ours left it. Once they are installed, the services of the package (and of Erlang) would start at
# the next boot: hence disable. The lock keeps two installs from removing each other's policy. The traps make every end
# but SIGKILL clean up. Ctrl-C may end the download, but in the middle of unpacking it would leave the system's packages
# broken: hence setsid, which takes that part away from the terminal.
_SCRIPT = """
set -eu
package=$1
export DEBIAN_FRONTEND=noninteractive
exec 9</var/lib/dpkg
flock -w 300 9
had_epmd=$(command -v epmd || true)
policy=/usr/sbin/policy-rc.d
mark='# order_service: only while a package is being installed'
if [ ! -e "$policy" ] || grep -qxF "$mark" "$policy"; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    printf '#!/bin/sh\\n%s\\nexit 101\\n' "$mark" >"$policy"
    chmod 755 "$policy"
fi
set -- -q -y -o DPkg::Lock::Timeout=120
download() { apt-get "$@" install --no-install-recommends --download-only "$package"; }
download "$@" || { apt-get "$@" update && download "$@"; }
setsid -w apt-get "$@" install --no-install-recommends "$package"
update-rc.d "$package" disable || true
if [ -z "$had_epmd" ] && command -v epmd && command -v systemctl; then
    systemctl disable epmd.service epmd.socket || true
fi
"""


@dataclass(frozen=True, slots=True)
class Package:
    """Debian's `name` for it and people's `title`; `size` to download; `instead`: what else will do, if anything."""

    name: str
    title: str
    size: str
    instead: str = ""

    @property
    def or_else(self) -> str:
        """What else will do, to be added to a sentence."""
        return f" or {self.instead}" if self.instead else ""

    @property
    def by_hand(self) -> str:
        """What somebody can do about it."""
        return f"run 'sudo apt-get install {self.name}'{self.or_else}"


def install(package: Package, say: Callable[[str], None]) -> None:
    """Installs the Debian package as root, through sudo where we are not. Raises ServerUnavailable.

    Ctrl-C ends it while it downloads; once it unpacks, Ctrl-C takes effect when it is done. Either way, no
    half-installed package or policy-rc.d stays behind.
    """
    if shutil.which("apt-get") is None:
        raise ServerUnavailable(
            f"{package.title} is not installed and there is no apt-get: install it{package.or_else}"
        )
    command = [*_as_root(package), "/bin/sh", "-c", _SCRIPT, "sh", package.name]
    say(f"installing {package.title} with apt-get ({package.size} to download; its system service stays off)")
    with tempfile.TemporaryFile() as output:
        with interrupts_deferred():
            status = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        output.seek(0)
        told = output.read().decode(errors="replace").splitlines()
    if status != 0:
        errors = [line for line in told if line.startswith("E: ")] or told[-1:] or [f"exit status {status}"]
        raise ServerUnavailable(
            f"{package.title} is not installed and apt-get failed ({errors[-1]}): {package.by_hand}"
        )


def _as_root(package: Package) -> list[str]:
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo"):
        if subprocess.call(["sudo", "-n", "true"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0:
            return ["sudo", "-n"]
        if sys.stdin.isatty():
            return ["sudo"]
    raise ServerUnavailable(f"{package.title} is not installed and apt-get needs root or sudo: {package.by_hand}")
