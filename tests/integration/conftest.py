"""What tests on real servers share: a database and a vhost for each."""

import asyncio
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.platform import Platform, Running, Servers


@pytest.fixture(scope="session")
def servers() -> Servers:
    return Servers(
        database_url=os.environ["ORDER_TEST_DATABASE_URL"],
        rabbitmq_url=os.environ["ORDER_TEST_RABBITMQ_URL"],
        management_url=os.environ["ORDER_TEST_MANAGEMENT_URL"],
    )


@pytest.fixture
def platform(servers: Servers, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Platform]:
    """A database and a vhost of this test's own, and the processes it starts."""
    with Platform.make(servers, tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def shared_platform(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The same for a whole module, for tests that only add orders of users of their own."""
    with Platform.make(servers, tmp_path_factory.mktemp("platform")) as made:
        yield made


@dataclass(frozen=True, slots=True)
class Shared:
    """An api and a worker on a platform that the tests of a module share."""

    platform: Platform
    api: Running
    worker: Running


@pytest.fixture(scope="module")
def shared(shared_platform: Platform) -> Shared:
    """With the settings that processes have by default."""
    return Shared(shared_platform, *asyncio.run(shared_platform.start_both()))


@pytest.fixture
def user() -> str:
    """A user of this test's own."""
    return f"user-{uuid.uuid4().hex[:12]}"
