"""Visitors that use a site all the time, while servers fail, and what they note of it."""

import random
import threading
import time
from dataclasses import dataclass

from tests.awake import awake
from tests.stores.history import FAILED, OK, UNKNOWN, History, judge

PATIENCE = 60  # seconds; only a test that is about to fail waits so long
FIELDS = 25  # after which a visitor begins a new session, so that records stay small


@dataclass
class Reply:
    at: float
    seconds: float
    status: int


class Load:
    """Visitors, each in a thread, spread over the sites."""

    def __init__(self, sites, *, visitors=8, ends=True):
        self.sites, self.ends = sites, ends
        self.history = History()
        self.replies = []
        self.sessions = {}  # the browser of each session, by its name
        self._stopped = threading.Event()
        self._crashes = []
        self._visitors = [
            _Visitor(self, f"v{number}", sites[number % len(sites)], random.Random(number))
            for number in range(visitors)
        ]
        self._threads = [threading.Thread(target=self._run, args=(visitor,)) for visitor in self._visitors]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in self._threads)
        assert self._crashes == []

    def _run(self, visitor):
        try:
            while not self._stopped.is_set():
                visitor.step()
                time.sleep(0.003)
        except BaseException as error:  # noqa: BLE001 - it is raised by whoever waits for the threads
            self._crashes.append(error)

    def all_served(self, since=None):
        """Wait until every visitor was served something that was asked for after `since` (default: now)."""
        since = time.monotonic() if since is None else since
        self._wait(lambda: all(visitor.served >= since for visitor in self._visitors), "some are not served")
        return time.monotonic() - since

    def all_refused(self, times):
        """Wait until each visitor has got `times` more answers of 503. A visitor whose request hangs gets none."""
        last = {visitor: visitor.refused + times for visitor in self._visitors}
        self._wait(
            lambda: all(visitor.refused >= number for visitor, number in last.items()), "a request hangs"
        )

    def _wait(self, condition, told):
        end = time.monotonic() + PATIENCE
        while not condition():
            assert self._crashes == []
            assert time.monotonic() < end, told
            time.sleep(0.01)

    def between(self, start, end):
        """The replies to what was asked in that time."""
        return [reply for reply in self.replies if start <= reply.at < end]

    def verdict(self, *, forgiven=(), immortal=()):
        """What the history comes to, now that all is whole again."""
        final = {}
        for name, browser in self.sessions.items():
            reply = browser.twin().play("is_new", "names")
            assert reply.status == 200
            is_new, names = reply.results
            final[name] = None if is_new else frozenset(names)
        return judge(self.history.done, final, forgiven=forgiven, immortal=immortal)


class _Visitor:
    def __init__(self, load, name, site, chance):
        self.load, self.name, self.site, self.chance = load, name, site, chance
        self.served, self.refused = float("-inf"), 0
        self.number = 0
        self._begin()

    def _begin(self):
        self.number += 1
        self.session = f"{self.name}.{self.number}"
        self.browser = self.site.browser()
        self.fields = 0

    def step(self):
        if not self.browser.cookies:
            self._write(f"sign_in {self.name}")
            if not self.browser.cookies:
                self._begin()  # what was not answered may be there, but nobody can ever open it
            else:
                self.load.sessions[self.session] = self.browser.twin()
            return
        chance = self.chance.random()
        if chance < 0.5:
            self._write()
        elif chance < 0.97 or not self.load.ends:
            self._read()
        else:
            self._end()
        if self.fields >= FIELDS:
            self._begin()

    def _write(self, *before):
        history = self.load.history
        mark = history.mark(self.name, self.session)
        did = history.ask("write", self.name, self.session, wrote=mark)
        reply = self._play(did, self.browser, *before, f"set {mark} 1")
        self.fields += 1
        if reply.status == 200:
            # A late request's write is dropped: its session has ended, which only `_end` does.
            history.tell(did, OK)
        else:
            history.tell(did, UNKNOWN)

    def _read(self, browser=None):
        did = self.load.history.ask("read", self.name, self.session)
        reply = self._play(did, browser or self.browser, "is_new", "user", "names")
        if reply.status != 200:
            self.load.history.tell(did, FAILED)
            return
        is_new, user, names = reply.results
        if not is_new and user != self.name:
            did.complaint = f"it is {user}'s"
        self.load.history.tell(did, OK, opened=not is_new, saw=frozenset(names))
        if is_new and browser is None:
            self._begin()

    def _end(self):
        did = self.load.history.ask("end", self.name, self.session)
        stolen = self.browser.twin()
        reply = self._play(did, self.browser, "sign_out")
        self.load.history.tell(did, OK if reply.status == 200 else UNKNOWN)
        self._read(stolen)
        self._begin()

    def _play(self, did, browser, *steps):
        start, began = time.monotonic(), awake()
        reply = browser.play(*steps)
        took = awake() - began
        self.load.replies.append(Reply(start, took, reply.status))
        if reply.raised is not None:
            did.complaint = f"the application raised {reply.raised!r}"
        elif reply.status == 503:
            self.refused += 1
            if reply.all("set-cookie"):
                did.complaint = "a cookie with an error"
            elif not reply.all("retry-after"):
                did.complaint = "an error without Retry-After"
        elif reply.status == 200:
            self.served = max(self.served, start)
        else:
            did.complaint = f"status {reply.status}"
        return reply
