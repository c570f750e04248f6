"""No token, secret or value where somebody else could read it (design: 18; R-09)."""

from __future__ import annotations

import base64
import logging
import traceback
import warnings
from collections.abc import Iterator

import pytest

from coatcheck.errors import StoreUnavailable
from tests.behaviours.client import Browser, Reply
from tests.behaviours.rotation import EVERY
from tests.behaviours.site import DAY, HOUR, SECRET, OpenSite, Site

__all__ = ["Privacy"]

CANARY = "canary-bird-value"


class Privacy:
    """Logs, events, errors and reprs name a session by its handle, and show nothing of its content."""

    def test_no_token_secret_or_value_is_in_a_log_an_event_an_error_or_a_repr(
        self,
        open_site: OpenSite,
        caplog: pytest.LogCaptureFixture,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        caplog.set_level(logging.DEBUG)
        site = open_site(rotate_every=EVERY, max_bytes=4096)
        seen: list[str] = []
        texts: list[str] = []
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            for reply, browser in _everything(site):
                seen += [value.partition("=")[2].split(";")[0] for value in reply.all("set-cookie")]
                seen += browser.cookies.values()
                if reply.raised is not None:
                    texts += traceback.format_exception(reply.raised)
        tokens = {value for value in seen if len(value) == 86}
        assert len(tokens) > 5
        verify = site.sessions.settings.ring.verify
        secrets = {SECRET, CANARY}
        for text in tokens:
            secrets.add(text)
            token = verify(text.encode())
            if token is None:  # forged: it may be nearly a good one
                continue
            for raw in (token.secret, token.secret_hash):
                secrets |= {raw.hex(), base64.b64encode(raw).decode(), repr(raw)[2:-1]}
            texts.append(repr(token))
        texts += [repr(event) for event in site.events]
        texts += [str(warning.message) for warning in warned]
        settings = site.sessions.settings
        texts += [repr(thing) for thing in (site.sessions, settings, settings.ring, settings.template)]
        out, err = capfd.readouterr()
        everything = "\n".join(
            [*texts, caplog.text, *(record.getMessage() for record in caplog.records), out, err]
        )
        assert [secret for secret in secrets if secret in everything] == []
        assert {"created", "signed_in", "rotated", "destroyed", "dropped", "refused", "unavailable"} <= set(
            site.told
        )
        assert len(texts) > 20


def _everything(site: Site) -> Iterator[tuple[Reply, Browser]]:
    """All that can happen to a session, each with the reply and the visitor who got it."""
    browser = site.browser()
    fill = f"set a {CANARY}"

    def play(*steps: str, visitor: Browser = browser) -> tuple[Reply, Browser]:
        return visitor.play(*steps), visitor

    yield play(fill, "list l", f"flash {CANARY}", "csrf", "repr")
    old = browser.twin()
    yield play("repr", "sign_in ada", "repr")
    yield play("set a late", visitor=old)
    yield play(f"push l {CANARY}", "repr", "raise")
    yield play(fill, "unstorable a")
    yield play(fill, "push_unstorable l")
    yield play("push_big l 5000", f"push l {CANARY}")
    yield play(f"push l {CANARY}", "stream", "rotate")
    yield play("look __getitem__", f"?get {CANARY}", "take_flashes", "rotate")
    site.advance(2 * HOUR)
    yield play("get a", "repr")
    site.failing.fail("load", "write", error=StoreUnavailable("the test says so"))
    yield play("get a")
    yield play("?get a", "raise")
    site.failing.recover()
    site.failing.fail("write", error=StoreUnavailable("the test says so"), times=2)
    yield play(fill, "set b 1")
    yield play("sign_out", "raise")
    damaged = site.browser(fill)
    site.damage(damaged)
    yield play("get a", visitor=damaged)
    forged = site.browser(fill)
    forged.cookies[site.name] = forged.cookies[site.name][:-2] + "AA"
    yield play("get a", visitor=forged)
    forged.cookies[site.name] = CANARY
    yield play("get a", visitor=forged)
    gone = site.browser(fill)
    yield play("get a", visitor=gone)
    late = gone.twin()
    yield play("repr", "sign_out", "repr", f"flash {CANARY}", visitor=gone)
    yield play(fill, visitor=late)
    site.advance(2 * DAY)
    yield play("get a", "repr", visitor=gone)
    insecure = site.browser()
    insecure.receive(site.send(insecure.request(fill, secure=False)))
    yield play("get a", visitor=insecure)
