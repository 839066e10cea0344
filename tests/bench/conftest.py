"""On real servers, as the integration tests are."""

from tests.integration.conftest import servers

__all__ = ["servers"]
