"""The benchmarks run, and their page says what their results say."""

import json
import math
import re
import statistics
import xml.etree.ElementTree as ET
from dataclasses import asdict

import pytest

from benchmarks import charts
from benchmarks.__main__ import RESULTS
from benchmarks.load import Bench, Effort
from benchmarks.report import IMAGES, PAGE, images, page
from benchmarks.results import load, record, series_of
from benchmarks.sites import SITES

SVG = "{http://www.w3.org/2000/svg}"
PARTS = json.loads(RESULTS.read_text())


@pytest.mark.servers
def test_a_site_is_measured_beside_one_without_a_session(tmp_path):
    sites = [SITES["WSGI/no session"], SITES["WSGI/Coatcheck/SQLite"]]
    with Bench(Effort(rounds=1, cores=(1,))) as bench, bench.running(sites, 4) as (bare, ours):
        measured = bench.measure("WSGI", [(bare, "untouched"), (ours, "read")], connections=4)

    record(tmp_path / "results.json", "frameworks", "a test", lambda: measured)

    part = load(tmp_path / "results.json")["frameworks"]
    assert series_of(part) == measured
    for one in measured:
        assert all(value > 0 for name in ("rate", "cpu", "p50", "p99") for value in one.rounds[name]), asdict(
            one
        )
    written = page(PAGE.read_text(), {"frameworks": part})
    assert f"| Coatcheck, SQLite | {measured[1].rounds['rate'][0]:,.0f} |" in written
    assert "**Measured once, to see that it works: frameworks." in written


def test_the_page_says_what_the_results_say():
    assert page(PAGE.read_text(), PARTS) == PAGE.read_text(), "run: python -m benchmarks report"


def test_the_charts_show_what_the_results_say():
    for name, text in images(PARTS).items():
        assert (IMAGES / name).read_text() == text, "run: python -m benchmarks report"
        assert name in PAGE.read_text()


BETTER = PAGE.read_text().partition("<!-- begin better -->")[2].partition("<!-- end better -->")[0]


def the_page_names(part, framework, peer, said):
    lists = re.split(r"^- ", BETTER, flags=re.MULTILINE)
    return any(one.startswith(f"{framework}, {part}: **{peer}") and f"- {said}" in one for one in lists)


def test_every_place_where_a_peer_is_better_is_named():
    """Computed here once more, from the file alone."""
    values = {
        (part, one["group"], one["site"], one["work"], one["cores"], one["x"]): one["rounds"]
        for part in ("frameworks", "connections", "size", "layouts")
        for one in PARTS[part]["series"]
    }
    better = 0
    for (part, group, site, work, cores, x), theirs in values.items():
        if part == "layouts" and site == "Flask-Session":
            ours = values[part, group, "string, swapped", work, cores, x]
            name = "bytes" if work == "bytes" else "cpu"
            ratio = statistics.median(b / a for a, b in zip(theirs[name], ours[name], strict=True))
            place = (part, "Flask", site, f"{work}, {group}: ×{ratio:.2f}")
        elif part == "layouts" or not theirs or site.split("/")[1] in {"Coatcheck", "no session", "one GET"}:
            continue
        else:
            framework, session, *stores = site.split("/")
            same = [store for store in ("PostgreSQL", "Memcached") if stores and store in stores[0]]
            ours = values[part, group, f"{framework}/Coatcheck/{[*same, 'Redis'][0]}", work, cores, x]
            ratio = math.inf
            if ours:
                ratio = statistics.median(a / b for a, b in zip(theirs["rate"], ours["rate"], strict=True))
            at = {"connections": f"{x} at once, ", "size": f"{x:,} bytes, "}.get(part, "")
            said = f"{at}{work}, {'one core' if cores == 1 else 'two cores'}: "
            said += f"×{ratio:.2f}" if ours else "Coatcheck refused requests"
            place = (part, framework, session, said)
        if ratio > 1:
            assert the_page_names(*place), place
            better += 1
    assert better == BETTER.count("\n  - "), "each is named once"


def test_a_load_under_which_only_the_peer_answered_is_named():
    peer, ours = (
        {
            "group": "ASGI",
            "site": f"ASGI/{session}/Redis",
            "work": "read",
            "cores": 1,
            "x": 64,
            "rounds": rounds,
        }
        for session, rounds in (("starsessions", {"rate": [100.0]}), ("Coatcheck", {}))
    )
    ours["note"] = "13 of 19 requests were refused"
    part = {**PARTS["frameworks"], "series": [peer, ours]}
    better = page("<!-- begin better --><!-- end better -->", {"frameworks": part})
    assert "read, one core: Coatcheck refused requests" in better


def test_a_run_whose_rounds_disagree_says_so():
    part = PARTS["frameworks"]

    def told(*rates):
        series = [{**one, "rounds": {"rate": list(rates)}} for one in part["series"][:1]]
        return page("<!-- begin run --><!-- end run -->", {"frameworks": {**part, "series": series}})

    assert "| 2% |" in told(100.0, 101.0, 102.0)
    assert "disturbed" not in told(100.0, 101.0, 102.0)
    assert "| 60% |" in told(100.0, 150.0, 90.0)
    assert "**Other programs disturbed: frameworks." in told(100.0, 150.0, 90.0)


@pytest.mark.parametrize("name", sorted(images(PARTS)))
def test_a_chart_fits_and_tells_screen_readers_its_numbers(name):
    chart = ET.fromstring((IMAGES / name).read_text())
    assert chart.get("role") == "img"
    assert {chart.find(f"{SVG}{part}").get("id") for part in ("title", "desc")} == set(
        chart.get("aria-labelledby").split()
    )
    assert any(letter.isdigit() for letter in chart.find(f"{SVG}desc").text)
    width = float(chart.get("viewBox").split()[2])
    for text in chart.iter(f"{SVG}text"):
        share = {"start": 1, "middle": 0.5, "end": 0}[text.get("text-anchor")]
        assert float(text.get("x")) + share * len(text.text) * 6.6 <= width, text.text


def test_a_line_is_drawn_where_its_numbers_are():
    chart = ET.fromstring(charts.lines("A title", ("x", "y"), {"one": [(1, 10), (100, 20)]}, log=False))
    first, last = ((float(c.get("cx")), float(c.get("cy"))) for c in chart.iter(f"{SVG}circle"))
    assert first[0] < last[0]
    assert last[1] < first[1], "more is higher up"
