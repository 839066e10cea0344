"""Runs on real servers, as the integration tests do."""

from tests.integration.conftest import platform, servers

__all__ = ["platform", "servers"]
