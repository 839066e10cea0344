"""The stand-in for Erlang's port mapper: bytes as Erlang's documentation of the protocol has them."""

import asyncio
import struct

import pytest

from order_service.private_servers.ports import reserved_ports
from tests.chaos.epmd import Alive, Epmd, alive_answer, names_answer, port_answer, read_alive

ALIVE = bytes([120]) + struct.pack(">HBBHH", 25672, 77, 0, 6, 5) + struct.pack(">H", 5) + b"order" + b"\x00\x00"


def test_a_node_that_registers_is_read() -> None:
    assert read_alive(ALIVE) == Alive("order", 25672, 6, 5)


@pytest.mark.parametrize("length", [1, 8, 12, 15])
def test_a_registration_that_is_cut_short_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="ALIVE2_REQ"):
        read_alive(ALIVE[:length])


def test_a_registration_is_answered_in_the_form_of_its_version() -> None:
    assert alive_answer(Alive("order", 1, 6, 5)) == b"\x76\x00\x00\x00\x00\x01"
    assert alive_answer(Alive("order", 1, 5, 5)) == b"\x79\x00\x00\x01"


def test_a_port_is_told_and_an_unknown_node_is_refused() -> None:
    assert port_answer("order", 0x1234) == b"\x77\x00\x12\x34\x4d\x00\x00\x06\x00\x05\x00\x05order\x00\x00"
    assert port_answer("order", None) == b"\x77\x01"


def test_names_are_told_as_text_after_the_mappers_own_port() -> None:
    assert names_answer(4369, {"one": 1, "two": 2}) == b"\x00\x00\x11\x11name one at port 1\nname two at port 2\n"


async def test_a_node_is_told_its_neighbours_ports_and_its_own_for_as_long_as_it_is_connected() -> None:
    with reserved_ports(1) as (port,):
        async with Epmd(port, {"neighbour": 111}, {"tool": Alive("tool", 222, 6, 5)}).serving():
            before = await asked(port, b"\x7aorder")
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(struct.pack(">H", len(ALIVE)) + ALIVE)
            registered = await reader.readexactly(6)
            own, neighbour, tool, names = [
                await asked(port, ask) for ask in (b"\x7aorder", b"\x7aneighbour", b"\x7atool", b"\x6e")
            ]
            writer.close()
            await writer.wait_closed()
            while (after := await asked(port, b"\x7aorder")) != b"\x77\x01":
                pass

    assert before == after == b"\x77\x01"
    assert registered[:2] == b"\x76\x00"
    assert own == port_answer("order", 25672)
    assert neighbour == port_answer("neighbour", 111)
    assert tool == port_answer("tool", 222)
    assert names == names_answer(port, {"order": 25672})


async def asked(port: int, request: bytes) -> bytes:
    """The whole answer to a request on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(struct.pack(">H", len(request)) + request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer
