"""The page "What happened" speaks the visitor's language first."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from coatcheck.demo.retelling import _DID, _WANTED, consequences, headline
from coatcheck.demo.steps import Request, Step


def request(method="POST", path="/basket/add", status=303, *told, wrote=True, steps=1):
    step = Step(call="write", milliseconds=1.0, told=told, wrote=wrote)
    return Request(
        at=datetime.now(UTC),
        by="Flask",
        method=method,
        path=path,
        status=status,
        milliseconds=2.0,
        steps=(step,) * steps,
        headers=(),
    )


def on_the_page(visitor):
    html = visitor.get("/what-happened").html
    shown = re.findall(r'<li class="request.*?<h2>(.*?)<time.*?<p>(.*?)</p>', html, re.DOTALL)
    return [(did.strip(), became) for did, became in shown]


def test_each_click_is_told_with_what_became_of_it(visitor):
    visitor.take("umbrella", "Ink")
    visitor.sign_in()
    visitor.get("/basket")
    visitor.submit("/basket/change", {"good": "umbrella"}, remove="yes", follow=False)
    told = on_the_page(visitor)
    assert told[0] == (
        "You changed the Interval umbrella in your basket",
        "Your basket was stored before you had the answer.",
    )
    assert told[1] == ("You looked at your basket", "Nothing was written.")
    assert told[-1] == (
        "You took the Interval umbrella",
        (
            "You got a session, and your browser a cookie with nothing but a random token. "
            "Your basket was stored before you had the answer."
        ),
    )
    assert (
        "You signed in",
        "The sign-in is stored. Your browser got a new token. A copy of the old one is worth nothing.",
    ) in told


@pytest.mark.parametrize(
    ("one", "did"),
    [
        (request(path="/express/basket/add"), "You took something"),
        (request("GET", "/express"), "You looked at the express counter"),
        (request("GET", "/nowhere"), "You asked for /nowhere"),
        (request("GET", "/{goods}"), "You asked for /{goods}"),
        (request("GET", "/express/nowhere"), "You asked for /express/nowhere"),
        (request("POST", "/sign-in", 422), "You wanted to sign in"),
        (request("POST", "/devices/end", 400), "You wanted to sign out another device"),
        (request("POST", "/express/basket/add", 503), "You wanted to take something"),
        (request("GET", "/basket", 503), "You looked at your basket"),
    ],
)
def test_what_the_visitor_did_is_said_of_every_address(one, did):
    assert headline(one) == did


@pytest.mark.parametrize(
    ("one", "became"),
    [
        (request("POST", "/theme", 400, wrote=False), ["The shop refused it.", "Nothing was written."]),
        (request("GET", "/nowhere", 404, steps=0), ["There is no such page.", "The store was not asked."]),
        (request("POST", "/odd", 303, "something new"), ["What changed is stored."]),
        (
            request("POST", "/sign-in", 303, "signed in", "removed “basket:mac”, “theme”"),
            ["The sign-in is stored.", "What the session held before was removed."],
        ),
        (
            request("POST", "/basket/change", 303, "removed “basket:mac”"),
            ["Your basket was stored before you had the answer."],
        ),
        (
            request("GET", "/basket", 200, "1 record", "failed: StoreTimeout", wrote=False),
            ["The store could not be reached once. The answer did not depend on it.", "Nothing was written."],
        ),
        (
            request("POST", "/basket/add", 503, "failed: StoreTimeout", wrote=False),
            ["The store could not be reached or took nothing, and the shop said so.", "Nothing was written."],
        ),
    ],
)
def test_what_became_of_it_is_said_of_every_end(one, became):
    assert consequences(one) == became


def test_every_form_can_be_refused():
    assert _WANTED.keys() == {key for key in _DID if key.startswith("POST ")}
