"""One PostgreSQL and one RabbitMQ for a whole run, unless only pure tests are asked for."""

import os
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from order_service.private_servers import private_servers
from tests.integration.platform import prepare_template

_STACK = pytest.StashKey[ExitStack]()


def pytest_configure(config: pytest.Config) -> None:
    """Starts the servers once, in the process that hands out the tests; the others find them in the environment."""
    # In the background of a script it is ignored, and whoever is started inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(config, "workerinput") or "ORDER_TEST_DATABASE_URL" in os.environ or not _needs_servers(config):
        return
    stack = ExitStack()
    config.stash[_STACK] = stack
    started = stack.enter_context(
        private_servers(Path("build/servers"), environ=os.environ, durable=False, management=True, say=lambda _: None)
    )
    if not started.rabbitmq_management_url:
        raise pytest.UsageError("set RABBITMQ_MANAGEMENT_URL: the tests make a vhost each through the management API")
    os.environ["ORDER_TEST_DATABASE_URL"] = started.database_url
    os.environ["ORDER_TEST_RABBITMQ_URL"] = started.rabbitmq_url
    os.environ["ORDER_TEST_MANAGEMENT_URL"] = started.rabbitmq_management_url
    prepare_template(started.database_url)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stops what was started."""
    if _STACK in config.stash:
        config.stash[_STACK].close()


def _needs_servers(config: pytest.Config) -> bool:
    """Whether any of the arguments is outside of the pure tests."""
    pure = Path(__file__).parent / "unit"
    asked = [Path(argument.split("::")[0]).resolve() for argument in config.args]
    return not all(path.is_relative_to(pure) for path in asked)
