"""The plan of faults: the same for the same seed, and never more than the promise covers."""

import itertools
from collections import Counter, defaultdict

import pytest

from tests.chaos.broker_faults import broker_faults
from tests.chaos.message_faults import message_faults
from tests.chaos.plan import Fault, Shape, draw
from tests.chaos.postgresql_faults import postgresql_faults
from tests.chaos.process_faults import process_faults

SHAPES = {
    kind.shape.name: kind.shape
    for kind in (*process_faults(), *postgresql_faults(), *broker_faults(), *message_faults())
}
TEN_MINUTES = 600.0
SEEDS = range(20)


def plan(seed: int, seconds: float = TEN_MINUTES) -> list[Fault]:
    return draw(tuple(SHAPES.values()), seed, seconds)


def test_a_seed_repeats_its_plan_and_another_one_does_not() -> None:
    assert plan(7) == plan(7)
    assert plan(7) != plan(8)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_kind_strikes_within_ten_minutes(seed: int) -> None:
    struck = Counter(fault.kind for fault in plan(seed))

    assert len(SHAPES) >= 15
    assert struck.keys() == SHAPES.keys()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_fault_strikes_every_two_to_five_seconds_unless_all_that_could_be_hurt_is(seed: int) -> None:
    moments = [fault.at for fault in plan(seed)]

    pauses = [later - earlier for earlier, later in itertools.pairwise(moments)]

    assert min(pauses) >= 1.9
    assert sum(pauses) / len(pauses) <= 5.0


@pytest.mark.parametrize("seed", SEEDS)
def test_what_one_fault_hurts_has_recovered_before_another_hurts_it(seed: int) -> None:
    by_resource: dict[str, list[Fault]] = defaultdict(list)
    for fault in plan(seed):
        by_resource[SHAPES[fault.kind].busy(fault.target)].append(fault)

    for faults in by_resource.values():
        for earlier, later in itertools.pairwise(faults):
            assert later.at >= earlier.at + earlier.seconds + SHAPES[earlier.kind].rest


def test_faults_of_servers_share_one_resource_so_that_never_two_nodes_are_hurt() -> None:
    for shapes in (postgresql_faults(), broker_faults()):
        assert len({kind.shape.busy(target) for kind in shapes for target in kind.shape.targets}) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_every_fault_is_healed_before_the_end(seed: int) -> None:
    assert all(fault.at + fault.seconds <= 60.0 for fault in plan(seed, 60.0))
    assert plan(seed, 60.0)


def test_each_fault_lasts_as_long_as_its_kind_does() -> None:
    shape = Shape("only", "thing", (3,), 1.0, 2.0, 0.5)

    faults = draw([shape], 1, 100.0)

    assert faults
    assert all(1.0 <= fault.seconds <= 2.0 and fault.target == 3 for fault in faults)
