"""Finding RabbitMQ, or installing it."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from order_service.private_servers.install_debian import Package, install
from order_service.private_servers.unavailable import ServerUnavailable

_DEBIAN = Path("/usr/lib/rabbitmq/bin")
_PACKAGE = Package("rabbitmq-server", title="RabbitMQ", size="35 MB", instead="set RABBITMQ_URL")


def server_script(search_path: str, say: Callable[[str], None]) -> tuple[Path, str]:
    """The script that starts a node, and its version; installed if need be. Raises ServerUnavailable."""
    found = _installed(search_path)
    if found is None:
        install(_PACKAGE, say)
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
