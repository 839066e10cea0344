"""Exit codes, and errors as people see them."""

import sys
import traceback
from collections.abc import Callable
from functools import wraps
from typing import Final, NoReturn, ParamSpec, TypeVar

import click

from order_service.config import ConfigError
from order_service.domain.errors import OrderServiceError, ServiceUnavailable
from order_service.telemetry.output import discard

OK: Final = 0
FAILED: Final = 1
"""It did not work, or (`demo`, `health`, `place`, `stress`) what was looked at is not right."""
USAGE: Final = 2
"""The command or the environment is wrong: mend it, then try again."""
UNAVAILABLE: Final = 3
"""PostgreSQL, RabbitMQ or the server cannot be reached: the same command may work later."""
INTERRUPTED: Final = 130
"""Ctrl-C."""
READER_GONE: Final = 141
"""Whoever read standard output has left (`| head -1`): what a shell says of any program that ends so."""

P = ParamSpec("P")
R = TypeVar("R")


def told(command: Callable[P, R]) -> Callable[P, R]:
    """Turns errors into a line on standard error and an exit code."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        except BrokenPipeError:
            discard(sys.stdout)
            sys.exit(READER_GONE)
        except Exception as error:
            fail(*_line_and_code(error))

    return run


def fail(text: str, code: int) -> NoReturn:
    """Says what is wrong and ends the process."""
    click.echo(f"order-service: {text}", err=True)
    sys.exit(code)


def _line_and_code(error: Exception) -> tuple[str, int]:
    match error:
        case ConfigError(problems=problems):
            return "\n  ".join(["the environment is not fit to start with:", *problems]), USAGE
        case ServiceUnavailable():
            return str(error), UNAVAILABLE
        case OrderServiceError():
            return str(error), FAILED
        case _:
            return f"a fault of this program: {error!r} {_place(error)}", FAILED


def _place(error: Exception) -> str:
    """Where an unforeseen error came from, for whoever has to mend it."""
    *_, last = traceback.extract_tb(error.__traceback__)
    return f"in {last.name}, {last.filename}:{last.lineno}"
