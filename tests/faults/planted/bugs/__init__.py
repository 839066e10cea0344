"""The bugs, each in the room where it would be made. Those of several lines are written as one edit for each place."""

from tests.faults.planted.bugs.consumer import OF_THE_CONSUMER
from tests.faults.planted.bugs.creation import OF_CREATION
from tests.faults.planted.bugs.relay import OF_THE_RELAY
from tests.faults.planted.bugs.saga import OF_THE_SAGA

BUGS = (*OF_THE_RELAY, *OF_THE_CONSUMER, *OF_THE_SAGA, *OF_CREATION)
