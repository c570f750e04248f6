"""The rail, the basket, the theme."""

from __future__ import annotations

from coatcheck.demo.goods import GOODS

PAGES = ("/", "/basket", "/sign-in", "/what-happened", "/devices", "/nowhere")


def test_an_anonymous_visit_of_every_page_asks_the_store_nothing_and_gets_no_cookie(visitor, store):
    for path in PAGES:
        page = visitor.get(path)
        assert "Set-Cookie" not in page.response.headers
    assert store.calls == []
    assert visitor.token is None


def test_the_style_sheet_is_served_without_a_look_at_the_session(visitor, store):
    visitor.take()
    store.reset()
    with visitor.client.get("/static/shop.css") as response:
        assert response.status_code == 200
        assert "Vary" not in response.headers
    assert store.calls == []


def test_every_good_is_on_the_rail_with_a_picture_and_its_own_form(visitor):
    page = visitor.get("/")
    assert page.html.count('<div class="tile') == len(GOODS)
    for good in GOODS:
        assert page.form("/basket/add", good=good.id)["next"] == "shop.rail"
        assert good.name in page.html


def test_what_is_taken_is_in_the_basket_and_said_once(visitor):
    page = visitor.take("mac", "L")
    assert page.messages == ["Matinée mac (L) is in your basket."]
    assert page.text("pieces") == "1"
    page = visitor.get("/basket")
    assert page.messages == []
    assert "Size L" in page.html
    assert page.text("total") == "€160"


def test_taking_the_same_again_counts_up_though_nobody_says_that_the_dict_changed(visitor):
    visitor.take("scarf", "Moss")
    page = visitor.take("scarf", "Moss")
    assert page.messages == ["Long-run scarf (Moss) is in your basket, 2 of them now."]
    page = visitor.take("scarf", "Ink")
    assert page.text("pieces") == "3"
    assert visitor.get("/basket").text("total") == "€144"


def test_nobody_gets_more_than_nine_of_a_kind(visitor):
    for _ in range(10):
        page = visitor.take("beanie", "Moss")
    assert page.text("pieces") == "9"


def test_the_form_on_the_rail_leads_back_to_the_good(visitor):
    visitor.get("/")
    page = visitor.submit("/basket/add", {"good": "pocket"}, choice="Moss", follow=False)
    assert page.status == 303
    assert page.response.location == "/#pocket"


def test_a_quantity_can_be_changed(visitor):
    visitor.take("mac", "M")
    visitor.get("/basket")
    page = visitor.submit("/basket/change", {"good": "mac"}, quantity="3")
    assert page.messages == ["Matinée mac (M): 3 in your basket."]
    assert page.text("total") == "€480"


def test_putting_something_back_leaves_the_rest(visitor):
    visitor.take("mac", "M")
    visitor.take("mac", "L")
    visitor.take("bowler", "58")
    visitor.get("/basket")
    page = visitor.submit("/basket/change", {"good": "mac", "choice": "M"}, remove="yes")
    assert page.messages == ["Matinée mac (M) is back on the rail."]
    assert page.text("pieces") == "2"
    page = visitor.submit("/basket/change", {"good": "bowler"}, quantity="0")
    assert page.text("pieces") == "1"
    page = visitor.submit("/basket/change", {"good": "mac", "choice": "L"}, remove="yes")
    assert page.text("pieces") == "0"
    assert "Nothing in it yet" in page.html


def test_putting_back_what_another_tab_put_back_says_so(visitor):
    visitor.take("mac", "M")
    stale = visitor.get("/basket").form("/basket/change", good="mac")
    visitor.post("/basket/change", stale | {"remove": "yes"})
    page = visitor.post("/basket/change", stale | {"remove": "yes"})
    assert page.messages == ["Matinée mac (M) was not in your basket any more."]


def test_what_is_not_on_the_rail_can_not_be_taken(visitor):
    visitor.take()
    fields = visitor.get("/").form("/basket/add", good="mac")
    assert visitor.post("/basket/add", fields | {"good": "crown", "choice": "M"}).status == 400
    page = visitor.post("/basket/add", fields | {"choice": "XXL"})
    assert page.status == 400
    assert "Matinée mac comes in S, M, L, XL." in page.html
    for quantity in ("-1", "10", "many", "", "²"):
        page = visitor.post("/basket/change", fields | {"choice": "M", "quantity": quantity})
        assert page.status == 400
    assert visitor.get("/").text("pieces") == "1"


def test_the_theme_is_kept_in_the_session_and_auto_follows_the_system(visitor):
    assert visitor.get("/").theme == "auto"
    page = visitor.submit("/theme", theme="dark")
    assert (page.theme, page.messages) == ("dark", ["The theme is dark now."])
    assert visitor.get("/basket").theme == "dark"
    page = visitor.submit("/theme", theme="light")
    assert (page.theme, page.messages) == ("light", ["The theme is light now."])
    assert page.response.request.path == "/basket"
    page = visitor.submit("/theme", theme="auto")
    assert (page.theme, page.messages) == ("auto", ["The theme follows your system."])


def test_choosing_what_is_anyway_stores_nothing_for_a_stranger(visitor, store):
    visitor.get("/")
    page = visitor.submit("/theme", theme="auto")
    assert (page.theme, page.messages) == ("auto", [])
    assert store.calls == []


def test_a_theme_that_there_is_not_is_refused(visitor):
    visitor.get("/")
    assert visitor.submit("/theme", theme="neon").status == 400


def test_a_form_can_only_lead_back_to_a_page_of_the_shop(visitor):
    visitor.get("/")
    for target in ("https://evil.example/", "//evil.example", "account.sign_out", ""):
        page = visitor.submit("/theme", theme="dark", next=target, follow=False)
        assert page.response.location == "/"
        visitor.get("/")


def test_pages_run_no_script_and_sit_in_no_frame(visitor):
    page = visitor.get("/")
    policy = page.response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "<script" not in page.html
    assert " style=" not in page.html
