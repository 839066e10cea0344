"""Some of the planted bugs, chosen for speed; `make faults` tries them all."""

from pathlib import Path

import pytest

from tests.faults.planted import BUGS, try_planted
from tests.integration.platform import Servers

QUICK = (
    "An event gets a new id each time it is published",
    "The body of an event says when it was published",
    "Orders are not locked while a reply or a cancellation is applied",
)


@pytest.mark.timeout(300)
async def test_planted_bugs_are_caught_and_nothing_is_said_where_none_is_planted(
    servers: Servers, tmp_path: Path
) -> None:
    quick = [bug for bug in BUGS if bug.name in QUICK]

    caught = await try_planted(servers, tmp_path, lambda _: None, bugs=quick, lanes=3)

    assert [one.name for one in caught if one.by] == [bug.name for bug in quick]
    assert len(caught) == len(QUICK)
