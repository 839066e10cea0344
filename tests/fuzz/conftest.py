"""The servers of the run, as for all tests on real servers."""

from tests.integration.conftest import servers

__all__ = ["servers"]
