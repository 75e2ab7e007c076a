"""Houses: a whole service for a module's tests, or a fresh one for a test that breaks things."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.house import House


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A running service with everybody enrolled; tests use names of their own in it."""
    house = House(tmp_path_factory.mktemp("house")).inhabited()
    yield house
    house.stop()


@pytest.fixture
def fresh_house(tmp_path: Path) -> Iterator[House]:
    """The same for one test alone."""
    house = House(tmp_path).inhabited()
    yield house
    house.stop()
