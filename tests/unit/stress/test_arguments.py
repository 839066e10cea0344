"""Foolish values are refused with a line that says what is wrong, before anything is sent."""

import importlib.util
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from order_service.cli.stress import stress


def run(*arguments: str) -> Result:
    return CliRunner().invoke(stress, ["--target", "127.0.0.1:1", *arguments])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--num", "0"), "'--num'"),
        (("--batch", "0"), "'--batch'"),
        (("--batch", "1001"), "'--batch'"),
        (("--batch", "20", "--num", "10"), "--batch 20 is more than --num 10"),
        (("--concurrency", "0"), "'--concurrency'"),
        (("--rate", "0"), "'--rate'"),
        (("--rate", "-5"), "'--rate'"),
        (("--rate", "nan"), "'nan' is not a number"),
        (("--rate", "inf"), "'--rate'"),
        (("--timeout", "0"), "'--timeout'"),
        (("--items", "1000", "--batch", "1000"), "servers take 4 MB"),
        (("--user", ""), "'--user'"),
        (("--user", "a\nb"), "'--user'"),
        (("--product", ""), "'--product'"),
        (("--target", "nowhere"), "'nowhere' is not HOST:PORT"),
        (("--target", ":50054"), "is not HOST:PORT"),
        (("--target", "localhost:70000"), "70000 is no port"),
        (("--plot", "picture.pdf"), "does not end with .png or .svg"),
        (("--plot", "no-such-folder/picture.png"), "cannot be written"),
    ],
)
def test_a_foolish_value_is_named(arguments: tuple[str, ...], told: str) -> None:
    result = run(*arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr


def test_a_picture_cannot_replace_a_folder(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()

    result = run("--plot", str(tmp_path / "folder.png"))

    assert result.exit_code == 2


def test_without_matplotlib_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    result = run("--plot", str(tmp_path / "run.png"))

    assert result.exit_code == 2
    assert "pip install 'order-service[plot]'" in result.stderr


@pytest.mark.parametrize("target", ["localhost:50054", "[::1]:50054", "dns:///orders.test:50054", "unix:/run/orders"])
def test_an_address_is_taken_as_grpc_takes_it(target: str) -> None:
    result = run("--target", target, "--num", "0")

    assert "'--target'" not in result.stderr


def test_the_help_says_that_orders_are_real() -> None:
    result = run("--help")

    assert "creates real orders" in result.output
    assert "use a test environment" in " ".join(result.output.split())
