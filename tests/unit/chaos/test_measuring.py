"""How soon orders flow again: counted from what was seen."""

from tests.chaos.measuring import Recovery, Struck, in_short, recoveries
from tests.chaos.plan import Fault

SEVERE = frozenset({"broker killed", "database killed"})


def struck(kind: str, at: float, healed_at: float) -> Struck:
    return Struck(Fault(0, at, kind, 0, healed_at - at), at, healed_at)


def test_recovery_is_until_the_first_outcome_of_an_order_that_was_acknowledged_after_the_healing() -> None:
    acknowledged = {"before": 9.0, "slow": 10.5, "quick": 11.0, "never": 10.1}
    outcomes = {"before": 10.2, "slow": 13.0, "quick": 12.0}

    found = recoveries([struck("broker killed", 8.0, 10.0)], acknowledged, outcomes, SEVERE)

    assert found == [Recovery("broker killed", 2.0, alone=True)]


def test_a_fault_that_was_never_healed_or_followed_by_an_order_has_no_recovery() -> None:
    faults = [struck("broker killed", 8.0, 10.0), struck("broker killed", 8.0, 0.0)]

    found = recoveries(faults, {"before": 9.0}, {"before": 10.2}, SEVERE)

    assert found == []


def test_a_recovery_in_the_midst_of_another_severe_fault_is_told_apart() -> None:
    faults = [struck("broker killed", 8.0, 10.0), struck("database killed", 11.0, 14.0), struck("process killed", 8, 9)]

    found = recoveries(faults, {"one": 10.5, "two": 14.5}, {"one": 14.1, "two": 14.6}, SEVERE)

    assert [(one.kind, one.alone) for one in found] == [
        ("broker killed", False),
        ("database killed", True),
        ("process killed", False),
    ]


def test_figures_in_short_keep_those_alone_apart_from_the_longest_of_all() -> None:
    found = [Recovery("killed", 1.0, True), Recovery("killed", 3.0, True), Recovery("killed", 9.0, False)]

    assert in_short(found) == {"killed": {"median": 2.0, "max": 3.0, "max_with_others": 9.0}}
    assert in_short([Recovery("killed", 9.0, False)]) == {"killed": {"max_with_others": 9.0}}
