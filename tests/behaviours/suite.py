"""The whole list, put together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Unpack

import pytest

from coatcheck.config import Options
from coatcheck.model.ports import Store
from coatcheck.sessions import Sessions
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing.clock import ManualClock
from tests.behaviours.client import Client
from tests.behaviours.cookies import Cookies
from tests.behaviours.cost import Cost
from tests.behaviours.failing import Failing
from tests.behaviours.headers import Headers
from tests.behaviours.identity import Identity
from tests.behaviours.limits import Limits
from tests.behaviours.outage import Outage
from tests.behaviours.privacy import Privacy
from tests.behaviours.races import Races
from tests.behaviours.requests import Requests
from tests.behaviours.rotation import Rotation
from tests.behaviours.site import OpenSite, Site
from tests.behaviours.streaming import Streaming
from tests.behaviours.writing import Writing

__all__ = ["HttpBehaviours"]


class HttpBehaviours(
    Cost,
    Writing,
    Failing,
    Streaming,
    Races,
    Rotation,
    Cookies,
    Headers,
    Requests,
    Identity,
    Limits,
    Outage,
    Privacy,
    ABC,
):
    """Every behaviour, for one framework on one store. Subclass it, and say how an application is built."""

    @abstractmethod
    def build(self, sessions: Sessions) -> Client:
        """An application of the framework under test, with the sessions of `sessions`, and a client for it."""

    @pytest.fixture
    def store(self) -> Store:
        """The store, empty. Override it to run the list on another one."""
        return MemoryStore()

    @pytest.fixture
    def open_site(self, store: Store) -> OpenSite:
        """Makes a site on the store, with settings."""
        clock = ManualClock()

        def open_site(**options: Unpack[Options]) -> Site:
            return Site(self.build, store, clock, options)

        return open_site

    @pytest.fixture
    def site(self, open_site: OpenSite) -> Site:
        """A site with the default settings."""
        return open_site()
