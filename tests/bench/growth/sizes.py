"""How large everything is, at full size and as a share of it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of orders, but for `rounds` and `seconds`."""

    large: int
    """In the larger tables."""
    middle: int
    """In the smaller ones."""
    listed: int
    """In the tables that ListOrders is compared with, all of one user, who has as many in the large ones."""
    backlog: int
    """That wait when relay and saga are measured."""
    long_backlog: int
    """That wait, in each round, beside an old transaction."""
    carried: int
    """That one api and one worker carry while their memory is watched."""
    rounds: int
    seconds: float
    """For how long the api is loaded in a round."""
    idle_seconds: float

    @property
    def filled(self) -> int:
        """Orders in all tables together."""
        return self.large + self.middle + self.listed

    @classmethod
    def at(cls, scale: float) -> "Sizes":
        """`scale` is from 0.0001 to 1. Below a tenth of the full size there are fewer and shorter rounds."""
        listed = max(100, round(10_000 * min(1.0, scale * 20)))
        return cls(
            # The listed user's orders are a whole share of it.
            large=max(10, round(5_000_000 * scale / listed)) * listed,
            middle=max(500, round(1_000_000 * scale)),
            listed=listed,
            backlog=max(300, round(10_000 * min(1.0, scale * 10))),
            long_backlog=max(400, round(40_000 * min(1.0, scale * 10))),
            carried=max(500, round(500_000 * scale)),
            rounds=5 if scale >= 0.1 else 3 if scale >= 0.001 else 1,
            seconds=4.0 if scale >= 0.1 else 1.0 if scale >= 0.001 else 0.3,
            idle_seconds=30.0 if scale >= 0.1 else 10.0 if scale >= 0.001 else 2.0,
        )
