"""The file of requests: each serialised, after its length."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from google.protobuf.message import Message

_LENGTH: Final = 4


def write_requests(file: Path, requests: Iterable[Message]) -> None:
    """Writes them in their order."""
    with file.open("wb") as output:
        for request in requests:
            content = request.SerializeToString()
            output.write(len(content).to_bytes(_LENGTH, "big") + content)


def read_requests(file: Path) -> Iterator[bytes]:
    """Each as it was serialised."""
    with file.open("rb") as source:
        while length := source.read(_LENGTH):
            yield source.read(int.from_bytes(length, "big"))
