"""Bugs planted in a copy of the service, one at a time: what the judge does not see then is a hole in the judge.

Each bug is a change of a line or a few, of a kind that people make. It is planted in a copy of the package, which
stands first on the path of the processes that are started; the checkout is never touched. A scenario on real servers
brings it out. Each scenario is first played with nothing planted, and then the judge must be silent.
"""

from tests.faults.planted.bugs import BUGS
from tests.faults.planted.planting import Edit, Planted
from tests.faults.planted.trying import Caught, try_planted

__all__ = ["BUGS", "Caught", "Edit", "Planted", "try_planted"]
