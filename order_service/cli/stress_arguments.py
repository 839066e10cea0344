"""Kinds of arguments of `order-service stress`: what is foolish is refused before any order is sent."""

import importlib.util
import math
import os
import re
from pathlib import Path
from typing import Any, Final

import click

_LONGEST_PREFIX: Final = 200
_LONGEST_ID: Final = 255
_PICTURES: Final = (".png", ".svg")
_SCHEMES: Final = ("dns:///", "unix:", "ipv4:", "ipv6:")


class Amount(click.FloatRange):
    """A number above 0."""

    def __init__(self, most: float) -> None:
        super().__init__(0, most, min_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


def target_argument(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    """HOST:PORT, or an address with a scheme of gRPC's."""
    if text is None or text.startswith(_SCHEMES):
        return text
    host, _, port = text.rpartition(":")
    if not re.fullmatch(r"[\w.-]+|\[[\da-fA-F:.%]+\]", host) or not port.isascii() or not port.isdigit():
        raise click.BadParameter(f"{text!r} is not HOST:PORT, such as 127.0.0.1:50054")
    if not 0 < int(port) < 2**16:
        raise click.BadParameter(f"{port} is no port")
    return text


def prefix_argument(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    """What ids of users can begin with."""
    if not text or len(text) > _LONGEST_PREFIX or not text.isprintable():
        raise click.BadParameter(f"must be 1 to {_LONGEST_PREFIX} printable characters")
    return text


def product_arguments(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    """Ids of products."""
    for text in texts:
        if not text or len(text) > _LONGEST_ID or not text.isprintable():
            raise click.BadParameter(f"must be 1 to {_LONGEST_ID} printable characters")
    return texts


def picture_argument(_context: click.Context, _parameter: click.Parameter, file: Path | None) -> Path | None:
    """A file that a picture can be written to: found out before any order is sent."""
    if file is None:
        return None
    if file.suffix.lower() not in _PICTURES:
        raise click.BadParameter(f"'{file}' does not end with {' or '.join(_PICTURES)}")
    if not file.parent.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
        raise click.BadParameter(f"'{file}' cannot be written")
    if importlib.util.find_spec("matplotlib") is None:
        raise click.BadParameter("needs matplotlib: pip install 'order-service[plot]', or pip install matplotlib")
    return file
