"""Group commit: nothing waits when all is idle, what arrives meanwhile goes together, and neighbours are safe."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from order_service.api.batching import Batcher, Overloaded
from order_service.domain.errors import ServiceUnavailable
from tests.waiting import eventually


@dataclass
class Work:
    """Carries batches out when it is told to: each result is ten times its item."""

    batches: list[list[int]] = field(default_factory=list)
    gates: list[asyncio.Future[None]] = field(default_factory=list)

    async def carry_out(self, items: Sequence[int]) -> list[int]:
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.batches.append(list(items))
        self.gates.append(gate)
        await gate
        return [item * 10 for item in items]

    async def begun(self, count: int) -> None:
        """Waits until so many batches have begun."""
        await eventually(lambda: len(self.batches) >= count)

    def finish(self) -> None:
        """Lets the batch that began first, of those under way, end well."""
        next(gate for gate in self.gates if not gate.done()).set_result(None)

    def fail(self, error: BaseException) -> None:
        """Lets it end with an error."""
        next(gate for gate in self.gates if not gate.done()).set_exception(error)


@pytest.fixture
def work() -> Work:
    return Work()


def batcher(
    work: Work, largest: int = 100, at_once: int = 1, most_waiting: int = 100, gathering: float = 0.0
) -> Batcher[int, int]:
    return Batcher(work.carry_out, largest, at_once, most_waiting, gathering)


async def submitted(batches: Batcher[int, int], *items: int) -> list[asyncio.Task[int]]:
    """Callers of one item each, all of whom have got as far as waiting."""
    tasks = [asyncio.create_task(batches.submit(item)) for item in items]
    await asyncio.sleep(0)
    return tasks


async def test_an_item_that_comes_when_all_is_idle_starts_at_once(work: Work) -> None:
    (caller,) = await submitted(batcher(work), 1)

    await work.begun(1)
    work.finish()

    assert work.batches == [[1]]
    assert await caller == 10


async def test_items_that_come_during_a_batch_share_the_next_one(work: Work) -> None:
    batches = batcher(work)
    first = await submitted(batches, 1)
    await work.begun(1)

    later = [*await submitted(batches, 2), *await submitted(batches, 3, 4)]
    begun_meanwhile = len(work.batches)
    work.finish()
    await work.begun(2)
    work.finish()

    assert begun_meanwhile == 1
    assert work.batches == [[1], [2, 3, 4]]
    assert await asyncio.gather(*first, *later) == [10, 20, 30, 40]


async def test_an_item_that_comes_after_all_is_done_starts_at_once_again(work: Work) -> None:
    batches = batcher(work)
    first = await submitted(batches, 1)
    await work.begun(1)
    work.finish()
    await asyncio.gather(*first)

    second = await submitted(batches, 2)
    await work.begun(2)
    work.finish()

    assert await asyncio.gather(*second) == [20]


async def test_an_item_that_comes_the_moment_a_batch_has_ended_is_not_left_waiting(work: Work) -> None:
    batches = batcher(work)

    async def asks_again_at_once() -> int:
        await batches.submit(1)
        return await batches.submit(2)

    caller = asyncio.create_task(asks_again_at_once())
    await work.begun(1)
    work.finish()
    await work.begun(2)
    work.finish()

    assert await caller == 20


async def test_no_batch_is_larger_than_the_largest(work: Work) -> None:
    batches = batcher(work, largest=2)
    callers = await submitted(batches, 1, 2, 3, 4, 5)

    for batch in range(3):
        await work.begun(batch + 1)
        work.finish()

    assert work.batches == [[1, 2], [3, 4], [5]]
    assert await asyncio.gather(*callers) == [10, 20, 30, 40, 50]


async def test_a_second_batch_starts_beside_the_first_only_when_it_is_full(work: Work) -> None:
    batches = batcher(work, largest=3, at_once=2)
    callers = await submitted(batches, 1)
    await work.begun(1)

    callers += await submitted(batches, 2, 3)
    begun_half_full = len(work.batches)
    callers += await submitted(batches, 4)
    await work.begun(2)
    work.finish()
    work.finish()

    assert begun_half_full == 1
    assert work.batches == [[1], [2, 3, 4]]
    assert await asyncio.gather(*callers) == [10, 20, 30, 40]


async def test_no_more_batches_than_allowed_are_under_way(work: Work) -> None:
    batches = batcher(work, largest=1, at_once=2)
    callers = await submitted(batches, 1, 2, 3, 4)
    await work.begun(2)
    await asyncio.sleep(0)
    begun = len(work.batches)

    for _ in range(4):
        await eventually(lambda: any(not gate.done() for gate in work.gates))
        work.finish()

    assert begun == 2
    assert await asyncio.gather(*callers) == [10, 20, 30, 40]


async def test_an_error_reaches_each_item_of_its_batch_and_no_other(work: Work) -> None:
    batches = batcher(work, largest=2)
    callers = await submitted(batches, 1, 2, 3)
    await work.begun(1)

    work.fail(ServiceUnavailable("PostgreSQL is away"))
    await work.begun(2)
    work.finish()
    first, second, third = await asyncio.gather(*callers, return_exceptions=True)

    assert isinstance(first, ServiceUnavailable)
    assert isinstance(second, ServiceUnavailable)
    assert third == 30


@pytest.mark.parametrize(
    ("results", "kinds"),
    [([], [ValueError, ValueError]), ([10], [int, ValueError]), ([10, 20, 30], [int, int])],
    ids=["none", "too few", "too many"],
)
async def test_a_wrong_number_of_results_leaves_nobody_waiting(results: list[int], kinds: list[type]) -> None:
    async def carry_out(items: Sequence[int]) -> list[int]:
        return results if items == [1, 2] else [item * 10 for item in items]

    batches = Batcher(carry_out, largest=2, at_once=1, most_waiting=100)

    *wrong, right = await asyncio.wait_for(batches.submit_all([1, 2, 3]), 30)

    assert [type(outcome) for outcome in wrong] == kinds
    assert right == 30


async def test_a_batch_that_a_library_cancels_leaves_nobody_waiting_now_or_later(work: Work) -> None:
    batches = batcher(work)
    callers = await submitted(batches, 1)
    await work.begun(1)

    work.fail(asyncio.CancelledError())
    (outcome,) = await asyncio.gather(*callers, return_exceptions=True)
    later = await submitted(batches, 2)
    await work.begun(2)
    work.finish()

    assert isinstance(outcome, ServiceUnavailable)
    assert await asyncio.gather(*later) == [20]


async def test_a_caller_that_gives_up_does_not_stop_a_batch_under_way(work: Work) -> None:
    gives_up, stays = await submitted(batcher(work), 1, 2)
    await work.begun(1)

    gives_up.cancel()
    await asyncio.wait([gives_up])
    work.finish()

    assert gives_up.cancelled()
    assert await stays == 20


async def test_an_item_whose_caller_gave_up_before_its_batch_began_is_left_out(work: Work) -> None:
    batches = batcher(work)
    first = await submitted(batches, 1)
    await work.begun(1)
    gives_up, stays = await submitted(batches, 2, 3)

    gives_up.cancel()
    await asyncio.wait([gives_up])
    work.finish()
    await work.begun(2)
    work.finish()

    assert work.batches == [[1], [3]]
    assert await asyncio.gather(*first, stays) == [10, 30]


async def test_nothing_is_carried_out_when_every_waiting_caller_has_given_up(work: Work) -> None:
    batches = batcher(work)
    first = await submitted(batches, 1)
    await work.begun(1)
    (gives_up,) = await submitted(batches, 2)

    gives_up.cancel()
    await asyncio.wait([gives_up])
    work.finish()
    await asyncio.gather(*first)
    later = await submitted(batches, 3)
    await work.begun(2)
    work.finish()

    assert work.batches == [[1], [3]]
    assert await asyncio.gather(*later) == [30]


async def test_more_items_than_may_wait_are_refused_and_those_that_wait_are_not(work: Work) -> None:
    batches = batcher(work, largest=1, most_waiting=2)
    under_way = await submitted(batches, 1)
    await work.begun(1)
    waiting = await submitted(batches, 2, 3)

    with pytest.raises(Overloaded):
        await batches.submit(4)
    for batch in range(3):
        await work.begun(batch + 1)
        work.finish()

    assert await asyncio.gather(*under_way, *waiting) == [10, 20, 30]


async def test_several_items_of_one_caller_each_have_a_result_or_an_error(work: Work) -> None:
    batches = batcher(work, largest=2, most_waiting=3)
    asked = asyncio.create_task(batches.submit_all([1, 2, 3, 4]))
    await work.begun(1)
    work.finish()
    await work.begun(2)
    work.fail(ServiceUnavailable("PostgreSQL is away"))

    outcomes = await asked

    assert outcomes[:2] == [10, 20]
    assert isinstance(outcomes[2], ServiceUnavailable)
    assert isinstance(outcomes[3], Overloaded)


async def test_the_next_batch_waits_for_callers_who_were_just_answered(work: Work) -> None:
    batches = batcher(work, gathering=60.0)
    first = await submitted(batches, *range(1, 61))
    await work.begun(1)
    late = await submitted(batches, 61)
    work.finish()
    await asyncio.gather(*first)

    again = await submitted(batches, *range(1, 60))
    begun_with_one_missing = len(work.batches)
    again += await submitted(batches, 60)
    await work.begun(2)
    work.finish()

    assert begun_with_one_missing == 1
    assert work.batches[1] == [61, *range(1, 61)]
    assert len(await asyncio.gather(*late, *again)) == 61


async def test_callers_who_do_not_come_back_are_waited_for_only_briefly(work: Work) -> None:
    batches = batcher(work, gathering=0.01)
    first = await submitted(batches, 1, 2, 3)
    await work.begun(1)
    late = await submitted(batches, 4)
    work.finish()
    await asyncio.gather(*first)

    await work.begun(2)
    work.finish()

    assert work.batches == [[1, 2, 3], [4]]
    assert await asyncio.gather(*late) == [40]


async def test_nobody_is_waited_for_after_a_full_batch(work: Work) -> None:
    batches = batcher(work, largest=3, gathering=3_600)
    callers = await submitted(batches, 1, 2, 3, 4)
    await work.begun(1)

    work.finish()
    await work.begun(2)
    work.finish()

    assert work.batches == [[1, 2, 3], [4]]
    assert await asyncio.gather(*callers) == [10, 20, 30, 40]


async def test_a_caller_who_is_alone_is_never_made_to_wait(work: Work) -> None:
    batches = batcher(work, gathering=3_600)

    for item in (1, 2, 3):
        (caller,) = await submitted(batches, item)
        await work.begun(item)
        work.finish()
        await caller

    assert work.batches == [[1], [2], [3]]
