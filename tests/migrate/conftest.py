"""Sites that move, for every test of it."""

import pytest

from tests.migrate.house import House


@pytest.fixture(params=["sync", "async"])
def kind(request):
    return request.param


@pytest.fixture
def a_house(kind):
    """Makes sites with a manager of one kind."""
    houses = []

    def make(library=None, **options):
        houses.append(House(kind, library, **options))
        return houses[-1]

    yield make
    for house in houses:
        house.close()


@pytest.fixture
def house_of_threads():
    return House("sync")


@pytest.fixture
def house(a_house):
    return a_house()
