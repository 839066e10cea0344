"""Chance for tests."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def seeded() -> Iterator[random.Random]:
    """Chance that can be repeated: a failure tells the seed."""
    seed = int(os.environ.get("ORDER_TEST_SEED", random.randrange(10**6)))
    try:
        yield random.Random(seed)
    except BaseException as error:
        error.add_note(f"ORDER_TEST_SEED={seed} makes the same choices again")
        raise
