"""Exit codes, and errors as people see them."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Final, NoReturn, ParamSpec, TypeVar

import click

from order_service.config import ConfigError
from order_service.domain.errors import OrderServiceError, ServiceUnavailable

OK: Final = 0
FAILED: Final = 1
"""It did not work, or (`demo`, `health`) what was looked at is not right."""
USAGE: Final = 2
"""The command or the environment is wrong: mend it, then try again."""
UNAVAILABLE: Final = 3
"""PostgreSQL, RabbitMQ or the server cannot be reached: the same command may work later."""

P = ParamSpec("P")
R = TypeVar("R")


def told(command: Callable[P, R]) -> Callable[P, R]:
    """Turns the errors of the service into a line on standard error and an exit code."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except ConfigError as error:
            fail("\n  ".join(["the environment is not fit to start with:", *error.problems]), USAGE)
        except ServiceUnavailable as error:
            fail(str(error), UNAVAILABLE)
        except OrderServiceError as error:
            fail(str(error), FAILED)

    return run


def fail(text: str, code: int) -> NoReturn:
    """Says what is wrong and ends the process."""
    click.echo(f"order-service: {text}", err=True)
    sys.exit(code)
