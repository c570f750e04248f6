"""What other libraries do: ``python -m tests.docs.peer_probes`` prints the answers of each, as JSON.

A request that is held makes the request that comes between by itself, so that the order is always the same.
"""

from __future__ import annotations

import json
import logging
import tempfile
import warnings

import httpx

from tests.docs.peers import ACTIONS, PEERS
from tests.servers.redis import RedisServer

READS = {  # commands that change nothing
    "get",
    "mget",
    "ttl",
    "exists",
    "hget",
    "hgetall",
    "ping",
    "hello",
    "client",
    "select",
    "info",
    "config",
}


class Site:
    """A peer that serves, and its store."""

    def __init__(self, port, store, sign_out):
        self.url, self.store, self._sign_out = f"http://127.0.0.1:{port}", store, sign_out

    def browser(self, cookies=None):
        # Without certificates, whose loading costs more than a probe.
        return httpx.Client(base_url=self.url, trust_env=False, timeout=60, cookies=cookies, verify=False)

    def visitor(self):
        """A browser, whose tabs share their cookies, signed in as ada."""
        browser = self.browser()
        self.visit(browser, lambda session: session.update({"user": "ada", "things": ["hat"], "seen": 1}))
        return browser

    def visit(self, browser, work, *, may_fail=False):
        name = f"a{len(ACTIONS)}"

        def action(session):
            answer = work(session)
            return answer if isinstance(answer, str) else "done"

        ACTIONS[name] = action
        answer = browser.get(f"/{name}")
        return answer if may_fail else answer.raise_for_status()

    def sign_out(self, browser):
        self.visit(browser, self._sign_out)

    def writes(self):
        """How often each command was called that writes."""
        commands = self.store.ask("INFO", "commandstats")
        return {name: figures["calls"] for name, figures in commands.items() if _word(name) not in READS}

    def user(self, browser):
        return self.visit(browser, lambda session: session.get("user") or "nobody").text


def _word(name):
    return name.removeprefix("cmdstat_").split("|")[0]


def keeps_both_changes(site):
    browser = site.visitor()

    def held(session):
        session.get("seen")
        site.visit(browser, lambda session: session.update({"theirs": 1}))
        session["ours"] = 1

    site.visit(browser, held)
    names = site.visit(browser, lambda session: json.dumps([session.get("theirs"), session.get("ours")]))
    return "yes" if names.json() == [1, 1] else "no"


def logout_stays(site):
    browser = site.visitor()
    before = dict(browser.cookies)

    def held(session):
        session.get("seen")
        site.sign_out(browser)
        session["draft"] = 1

    late = site.visit(browser, held, may_fail=True)
    again = site.browser(before)
    if "ada" in (site.user(browser), site.user(again)):
        return "no"
    return "yes" if late.is_success else f"yes, by a {late.status_code}"


def nested_change_is_stored(site):
    browser = site.visitor()
    site.visit(browser, lambda session: session["things"].append("coat"))
    return "yes" if "coat" in site.visit(browser, lambda session: str(session["things"])).text else "no"


def reading_writes_nothing(site):
    browser = site.visitor()
    site.user(browser)
    before = site.writes()
    answer = site.visit(browser, lambda session: session.get("user"))
    return "no" if site.writes() != before or "set-cookie" in answer.headers else "yes"


def while_the_store_is_away(site):
    browser = site.visitor()
    site.store.stop()
    status = site.visit(browser, lambda session: session.get("user"), may_fail=True).status_code
    site.store.start()
    after = site.user(browser)
    if status == 200:
        return "needs none" if after == "ada" else "signed out for good"
    return str(status) if after == "ada" else f"{status}, then signed out"


def stolen_store_opens_no_session(site):
    site.store.ask("FLUSHDB")
    (cookie,) = site.visitor().cookies
    keys = [key.decode() for key in site.store.ask("KEYS", "*")]
    thief = site.browser()
    for guess in (key[start:] for key in keys for start in range(len(key))):
        thief.cookies = {cookie: guess}
        if site.user(thief) == "ada":
            return "no"
    return "yes" if keys else "has none"


PROBES = (
    keeps_both_changes,
    logout_stays,
    nested_change_is_stored,
    reading_writes_nothing,
    while_the_store_is_away,
    stolen_store_opens_no_session,
)


def answers():
    """By the name of each, what each probe finds."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    found = {}
    with tempfile.TemporaryDirectory() as folder, RedisServer(folder, save="3600 1") as store:
        for name, peer in PEERS.items():
            server, sign_out = peer(store.port)
            with server as port:
                found[name] = [probe(Site(port, store, sign_out)) for probe in PROBES]
    return found


if __name__ == "__main__":
    print(json.dumps(answers()))
