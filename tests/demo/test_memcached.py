"""The demo on Memcached: everything but the list of devices, and that says why."""

from __future__ import annotations

import secrets
import urllib.request

import pytest
from starlette.testclient import TestClient

from coatcheck.demo.scenes.plays import SCENES
from coatcheck.demo.site import Site
from coatcheck.stores.memcached import AsyncMemcachedStore, MemcachedStore
from tests.demo.halves import SiteVisitor
from tests.demo.process import run
from tests.servers.memcached import memcached, prefix  # noqa: F401 - a fixture
from tests.servers.process import free_port

pytestmark = pytest.mark.servers
HALVES = ("/", "/express")


@pytest.fixture
def site(memcached, compiled):  # noqa: F811
    its = prefix()
    store = MemcachedStore(memcached.address, prefix=its)
    twin = AsyncMemcachedStore(memcached.address, prefix=its)
    options = {"secret": secrets.token_urlsafe(32), "insecure_http": True}
    with TestClient(Site(store, twin, compiled=compiled, **options)) as portal:
        yield portal
    store.close()


@pytest.fixture
def visitor(site):
    return SiteVisitor(site)


@pytest.fixture
def other(site):
    return SiteVisitor(site)


def test_both_halves_share_the_basket_and_the_visitor(visitor):
    visitor.take("mac", "L")
    visitor.add("mac", "M")
    visitor.sign_in("Ada")
    for half in HALVES:
        page = visitor.get(half)
        assert (page.text("user"), page.text("pieces")) == ("Ada", "2")
    visitor.get("/")
    page = visitor.submit("/sign-out")
    assert page.messages == ["You are signed out. See you soon."]
    assert visitor.get("/express").text("user") is None


def test_the_page_of_devices_says_why_there_is_no_list_and_signs_out_the_others(visitor, other):
    visitor.sign_in("Ada")
    other.sign_in("Ada")
    page = visitor.get("/devices")
    assert "Memcached, which has no lists" in page.text("no-list")
    assert '<li class="device' not in page.html
    page = visitor.submit("/devices/end-others")
    assert page.messages == ["All other devices are signed out now."]
    for half in HALVES:
        assert other.get(half).text("user") is None
        assert visitor.get(half).text("user") == "Ada"


def test_a_form_for_one_device_of_another_shop_is_refused(visitor):
    visitor.sign_in("Ada")
    fields = visitor.get("/devices").form("/devices/end-others")
    page = visitor.post("/devices/end", fields | {"handle": "0" * 32})
    assert page.status == 400
    assert "keeps no list of devices" in page.html


def test_a_page_of_a_user_costs_one_call_more_for_which_sign_ins_count(visitor):
    for half in HALVES:
        visitor.take("mac")
        assert "1 round trip to the store" in visitor.get(half).cost
    visitor.sign_in_there("Ada")
    for half in HALVES:
        assert "2 round trips to the store" in visitor.get(half).cost


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.id)
def test_each_scene_ends_well_here_and_badly_elsewhere(visitor, scene):
    visitor.get("/")
    page = visitor.submit("/#scene", scene=scene.id)
    assert (page.html.count('class="side kept"'), page.html.count('class="side broken"')) == (1, 1)


def test_the_command_serves_it(demos, memcached):  # noqa: F811
    demo = demos("--store", memcached.url)
    assert f"sessions in {memcached.url}" in demo.welcome
    with urllib.request.urlopen(demo.url, timeout=30) as answer:
        assert answer.status == 200


def test_the_command_says_at_once_that_nobody_is_there(tmp_path):
    done = run("demo", "--port", "0", "--store", f"memcached://127.0.0.1:{free_port()}", folder=tmp_path)
    assert done.returncode != 0
    assert "can't be reached" in done.stderr
    assert "Traceback" not in done.stderr
