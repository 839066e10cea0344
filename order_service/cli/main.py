"""The command line's root: everything that can be typed after `order-service`."""

from importlib.metadata import version

import click

from order_service.cli.processes import api, health, migrate, worker

_EPILOG = """\b
Exit codes: 0 done; 1 it failed, or what was looked at is not right; 2 the command or the environment is wrong;
3 PostgreSQL, RabbitMQ or the server cannot be reached."""


@click.group(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("order-service"))
def main() -> None:
    """An order service: gRPC in, a saga over RabbitMQ, one outcome for each order."""


for command in (api, worker, migrate, health):
    main.add_command(command)
