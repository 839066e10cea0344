"""`order-service variables`: the table of settings, from which the README's is made."""

import click

from order_service.cli.exits import told
from order_service.cli.output import print_json, print_table
from order_service.config import VARIABLES, Variable


@click.command()
@click.option("--json", "how", flag_value="json", help="For programs: one JSON object on each line.")
@click.option("--markdown", "how", flag_value="markdown", help="As a table in Markdown.")
@told
def variables(how: str | None) -> None:
    """List the environment variables that are read.

    Each that holds a secret may be given as a file instead, named by NAME_FILE.

    \b
    Example:
      order-service variables --markdown
    """
    if how == "json":
        for variable in VARIABLES:
            print_json(_variable_json(variable))
    elif how == "markdown":
        _print_markdown()
    else:
        rows = ((variable.name, variable.default or "", variable.doc) for variable in VARIABLES)
        print_table(("VARIABLE", "DEFAULT", "MEANING"), rows)


def _variable_json(variable: Variable) -> dict[str, object]:
    return {
        "name": variable.name,
        "default": variable.default,
        "meaning": variable.doc,
        "must_be": variable.kind.words,
        "secret": variable.secret,
    }


def _print_markdown() -> None:
    click.echo("| variable | default | what it is |\n| --- | --- | --- |")
    for variable in VARIABLES:
        name = f"`{variable.name}` (secret)" if variable.secret else f"`{variable.name}`"
        default = f"`{variable.default}`" if variable.default else ""
        click.echo(f"| {name} | {default} | {variable.doc} |")
