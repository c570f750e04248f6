"""The built documentation in a real browser: its pages fit a phone, and its search finds the guides."""

import re

import pytest
from playwright.sync_api import sync_playwright

from tests.demo.browsing import FLAGS
from tests.docs.pages import DOCS

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("documentation")]

SCORER = (DOCS / "_static" / "scorer.js").read_text()
NARROWEST_CELL = 100  # px; of a cell with a sentence in it


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page(browser):
    return browser.new_page()


@pytest.fixture(scope="module")
def all_in_one(browser, built):
    """A page that has the articles of all pages, so that one layout shows whether each fits."""
    article = re.compile(r"<article.*?>(.*?)</article>", re.DOTALL)
    pages = [page for page in sorted(built.rglob("*.html")) if page.name != "search.html"]
    articles = [
        f'<section data-page="{page.relative_to(built)}">{article.search(page.read_text())[1]}</section>'
        for page in pages
    ]
    index = re.sub(r'<script src="(?!_static/coatcheck).*?</script>', "", (built / "index.html").read_text())
    whole = built / "all.html"
    whole.write_text(article.sub(lambda _: f'<article role="main">{"".join(articles)}</article>', index))
    page = browser.new_page()
    page.goto(whole.as_uri())
    page.wait_for_selector("table.cards", state="attached")
    yield page
    page.close()
    whole.unlink()


FITTING = """(narrowest) => {
    const faults = [];
    const fault = (element, text) => faults.push(`${element.closest("[data-page]")?.dataset.page}: ${text}`);
    const root = document.documentElement;
    if (root.scrollWidth > root.clientWidth) faults.push(`the page is ${root.scrollWidth} wide`);
    for (const table of document.querySelectorAll("article table")) {
        const box = table.closest(".table-wrapper");
        const wide = table.getBoundingClientRect().width > (box?.clientWidth ?? 0) + 1;
        if (wide && (!box || getComputedStyle(box).overflowX !== "auto"))
            fault(table, "a table is wider than the page, and does not scroll");
        if (wide && table.rows[0].cells.length <= 4 && root.clientWidth < 700)
            fault(table, "a table of few columns scrolls on a phone");
        for (const cell of table.querySelectorAll("td, th")) {
            if (cell.textContent.length > 40 && cell.getBoundingClientRect().width < narrowest)
                fault(cell, `a cell is ${cell.getBoundingClientRect().width} wide: ${cell.textContent.slice(0, 40)}`);
        }
    }
    for (const block of document.querySelectorAll("article pre, article dt.sig")) {
        const right = block.getBoundingClientRect().right;
        if (right > root.clientWidth + 1) fault(block, "a block of code sticks out");
    }
    return faults;
}"""


@pytest.mark.parametrize("width", [390, 1280])
def test_every_page_fits_and_every_table_can_be_read(all_in_one, width):
    all_in_one.set_viewport_size({"width": width, "height": 900})
    assert all_in_one.evaluate(FITTING, NARROWEST_CELL) == []


def test_on_a_phone_each_cell_stands_under_the_name_of_its_column(page, built):
    page.set_viewport_size({"width": 390, "height": 900})
    page.goto((built / "reference" / "settings.html").as_uri())
    default = page.locator("table.cards td", has_text="timedelta(hours=24)").first
    assert default.get_attribute("data-label") == "Default"
    assert default.evaluate("cell => getComputedStyle(cell, '::before').content") == '"Default: "'


RECORD = re.compile("decisions/|reference/(promises|behaviours|conformance)")


def found(page, built, words):
    page.goto(f"{(built / 'search.html').as_uri()}?q={words}")
    page.wait_for_function("document.querySelector('#search-results h2')?.innerText === 'Search Results'")
    return page.eval_on_selector_all(
        "ul.search li > a", "links => links.map(link => link.getAttribute('href'))"
    )


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ("logout", "how-to/sign-in-and-out"),
        ("redis", "how-to/redis"),
        ("csrf", "how-to/csrf"),
        ("outage", "how-to/outages"),
        ("cookie", "how-to/"),
        ("revoke_user", "reference/api"),
    ],
)
def test_the_search_finds_guides_before_records_of_decisions(page, built, words, first):
    results = found(page, built, words)
    assert results[0].startswith(first)
    best = results[:5]
    assert [result for result in best if RECORD.match(result)] == []
    assert any(re.match("how-to|tutorial|faq", result) for result in best)


def test_the_search_knows_the_pages_that_answer(built):
    pages = re.findall(r'^  "?([\w/-]+)"?: \[$|^  "?([\w/-]+)"?: \[".*\],$', SCORER, re.MULTILINE)
    assert pages
    for page in map("".join, pages):
        assert (built / f"{page}.html").exists(), page
