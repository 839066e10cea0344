"""The command line's root: everything that can be typed after `order-service`."""

import logging
import sys
from importlib.metadata import version
from typing import Any, NoReturn

import click

from order_service.cli.cut_over import cut_over
from order_service.cli.demo import demo
from order_service.cli.doctor import doctor
from order_service.cli.events import events
from order_service.cli.exits import INTERRUPTED, USAGE, fail
from order_service.cli.orders import orders
from order_service.cli.parked import parked
from order_service.cli.place import place
from order_service.cli.processes import api, health, migrate, worker
from order_service.cli.stress import stress
from order_service.cli.variables import variables

_EXIT_CODES = """\b
Exit codes: 0 done; 1 it failed, or what was looked at is not right;
2 the command or the environment is wrong; 3 PostgreSQL, RabbitMQ or the
server cannot be reached; 130 Ctrl-C."""


class _Root(click.Group):
    """Tells what is wrong with a command line in one line, as all other errors are told."""

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        try:
            sys.exit(super().main(*args, **{**kwargs, "standalone_mode": False}))
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(USAGE)
        except click.ClickException as error:
            context = getattr(error, "ctx", None)
            seen = f" (see '{context.command_path} --help')" if context else ""
            fail(f"{error.format_message()}{seen}", error.exit_code)
        except click.Abort:
            sys.exit(INTERRUPTED)


@click.group(cls=_Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("order-service"))
def main() -> None:
    """An order service: gRPC in, a saga over RabbitMQ, one outcome for each order."""
    # What libraries warn of is told as an error, in a line. The processes log it: see `telemetry.logs`.
    logging.getLogger().addHandler(logging.NullHandler())


def _add_exit_codes(command: click.Command) -> None:
    """To the help of a command, and of all below it."""
    command.epilog = _EXIT_CODES
    if isinstance(command, click.Group):
        for below in command.commands.values():
            _add_exit_codes(below)


for command in (api, worker, migrate, health, place, orders, parked, events, doctor, cut_over, demo, stress, variables):
    main.add_command(command)
_add_exit_codes(main)
