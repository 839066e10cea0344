"""Finding RabbitMQ, or installing it with apt-get without starting or enabling a system service."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from order_service.private_servers.interrupts import interrupts_deferred
from order_service.private_servers.unavailable import ServerUnavailable

_DEBIAN = Path("/usr/lib/rabbitmq/bin")
_BY_HAND = "run 'sudo apt-get install rabbitmq-server' or set RABBITMQ_URL"

# Debian asks policy-rc.d before it starts a service; 101 means no. One that is there already is left as it is, unless
# a killed install of ours left it. Once they are installed, the services of RabbitMQ and Erlang would start at the next
# boot: hence disable. The lock keeps two installs from removing each other's policy. The traps make every end but
# SIGKILL clean up. Ctrl-C may end the download, but in the middle of unpacking it would leave the system's packages
# broken: hence setsid, which takes that part away from the terminal.
_SCRIPT = """
set -eu
export DEBIAN_FRONTEND=noninteractive
exec 9</var/lib/dpkg
flock -w 300 9
had_epmd=$(command -v epmd || true)
policy=/usr/sbin/policy-rc.d
mark='# order_service: only while RabbitMQ is being installed'
if [ ! -e "$policy" ] || grep -qxF "$mark" "$policy"; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    printf '#!/bin/sh\\n%s\\nexit 101\\n' "$mark" >"$policy"
    chmod 755 "$policy"
fi
set -- -q -y -o DPkg::Lock::Timeout=120
download() { apt-get "$@" install --no-install-recommends --download-only rabbitmq-server; }
download "$@" || { apt-get "$@" update && download "$@"; }
setsid -w apt-get "$@" install --no-install-recommends rabbitmq-server
update-rc.d rabbitmq-server disable || true
if [ -z "$had_epmd" ] && command -v systemctl >/dev/null; then systemctl disable epmd.service epmd.socket || true; fi
"""


def server_script(search_path: str, say: Callable[[str], None]) -> tuple[Path, str]:
    """The script that starts a node, and its version; installed if need be. Raises ServerUnavailable."""
    found = _installed(search_path)
    if found is None:
        _install(say)
        found = _installed(search_path)
    if found is None:
        raise ServerUnavailable(f"RabbitMQ was installed, but not where it is looked for ({_DEBIAN}): set RABBITMQ_URL")
    version = re.search(r"rabbitmq_server-([\d.]+)", str(found.resolve()))
    return found, version[1] if version else "of unknown version"


def _installed(search_path: str) -> Path | None:
    return next(
        (script for script in installed_scripts(search_path) if (script.parent / "rabbitmq-env").exists()), None
    )


def installed_scripts(search_path: str) -> Iterator[Path]:
    """Candidates: Debian's wrapper in /usr/sbin, which would switch to the system's broker, has no rabbitmq-env."""
    yield _DEBIAN / "rabbitmq-server"
    if script := shutil.which("rabbitmq-server", path=search_path):
        yield Path(script).resolve()


def _install(say: Callable[[str], None]) -> None:
    """Installs the Debian package as root, through sudo where we are not. Raises ServerUnavailable.

    Ctrl-C ends it while it downloads; once it unpacks, Ctrl-C takes effect when it is done. Either way, no
    half-installed package or policy-rc.d stays behind.
    """
    if shutil.which("apt-get") is None:
        raise ServerUnavailable("RabbitMQ is not installed and there is no apt-get: install it or set RABBITMQ_URL")
    command = [*_as_root(), "/bin/sh", "-c", _SCRIPT]
    say("installing RabbitMQ with apt-get (35 MB to download; its system service stays off)")
    with tempfile.TemporaryFile() as output:
        with interrupts_deferred():
            status = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        output.seek(0)
        told = output.read().decode(errors="replace").splitlines()
    if status != 0:
        errors = [line for line in told if line.startswith("E: ")] or told[-1:] or [f"exit status {status}"]
        raise ServerUnavailable(f"RabbitMQ is not installed and apt-get failed ({errors[-1]}): {_BY_HAND}")


def _as_root() -> list[str]:
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo"):
        if subprocess.call(["sudo", "-n", "true"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0:
            return ["sudo", "-n"]
        if sys.stdin.isatty():
            return ["sudo"]
    raise ServerUnavailable(f"RabbitMQ is not installed and apt-get needs root or sudo: {_BY_HAND}")
