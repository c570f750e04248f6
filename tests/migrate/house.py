"""An old library, a manager that carries its sessions over, and visitors; sync and async alike."""

import time

from coatcheck import Sessions
from coatcheck.errors import DecodeError
from coatcheck.migrate import AsyncMigrating, Migrating, Old
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import ManualClock
from tests.visitor import SECRET, Blocking

OLD = b"old=id-of-ada"


class Library:
    """An old library. What is in `broken` raises."""

    name = "the old library"
    cookie = "old"
    removes = True

    def __init__(self, **sessions):
        self.sessions = sessions or {"ada": Old({"user": "ada", "cart": [1, 2]}, permanent=True)}
        self.asked = []
        self.broken = set()
        self.before, self.pause = None, 0

    def id_in(self, value):
        if "id_in" in self.broken:
            raise ValueError(value)
        return value.removeprefix("id-of-") if value.startswith("id-of-") else None

    def read(self, old_id, now):
        self._call("read")
        before, self.before = self.before, None
        if before is not None:
            before()
        time.sleep(self.pause)
        found = self.sessions.get(old_id)
        if found == "garbage":
            raise DecodeError("it is no pickle")
        return found

    def remove(self, old_id):
        self._call("remove")
        self.sessions.pop(old_id, None)

    def _call(self, name):
        self.asked.append(name)
        if name in self.broken:
            raise ConnectionError("no route to the host of the old library, password hunter2")


class House:
    """A site that moves, with the managers of both kinds called alike."""

    def __init__(self, kind="sync", library=None, *, store=None, keep_old=False, **options):
        self.library = library or Library()
        self.events = []
        self.clock = ManualClock()
        settings = {
            "secret": SECRET,
            "clock": self.clock,
            "identity": "user",
            "on_event": self.events.append,
            **options,
        }
        if kind == "sync":
            sessions = Sessions(store or MemoryStore(), **settings)
            self.sessions = Migrating(sessions, from_=self.library, keep_old=keep_old)
        else:
            self.sessions = Blocking(store, **settings)
            self.sessions.manager = AsyncMigrating(
                self.sessions.manager, from_=self.library, keep_old=keep_old
            )
        self.name = self.sessions.settings.template.name

    def visit(self, cookies=OLD, work=dict):
        """What `work` makes of a visitor's session, and the cookies that he has afterwards."""
        session = self.sessions.open(cookies)
        result = work(session)
        outcome = self.sessions.close(session, last=True)
        return result, self.after(cookies, outcome)

    def later(self, span):
        """Let time pass. The store removes what has expired meanwhile."""
        self.clock.advance(span)
        self.sessions.sweep()

    def after(self, cookies, outcome):
        """The Cookie header of a browser that got this outcome."""
        if outcome.set_cookie is None:
            return cookies
        kept = [one for one in cookies.split(b"; ") if one and not one.startswith(self.name.encode() + b"=")]
        value = outcome.set_cookie.split(";")[0].encode()
        return b"; ".join(kept if value.endswith(b"=") else [*kept, value])

    def close(self):
        """Close what an event loop of its own keeps open."""
        if isinstance(self.sessions, Blocking):
            self.sessions.shutdown()
            self.sessions.runner.close()

    def told(self, kind):
        """The reasons of the events of a kind."""
        return [event.reason for event in self.events if event.kind == kind]
