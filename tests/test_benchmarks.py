"""The benchmarks run, and their page says what their results say."""

import json
import re
import statistics
import xml.etree.ElementTree as ET
from dataclasses import asdict

import pytest

from benchmarks import charts
from benchmarks.__main__ import RESULTS, main
from benchmarks.load import Bench, Effort
from benchmarks.report import IMAGES, PAGE, PAGES, images, page
from benchmarks.results import load, record, series_of
from benchmarks.sites import SITES
from benchmarks.targets import verdicts

SVG = "{http://www.w3.org/2000/svg}"
PARTS = json.loads(RESULTS.read_text())


@pytest.mark.servers
def test_a_site_is_measured_beside_one_without_a_session(tmp_path):
    sites = [SITES["WSGI/no session"], SITES["WSGI/Coatcheck/SQLite"]]
    with Bench(Effort(rounds=1, cores=(1,))) as bench, bench.running(sites, 4) as (bare, ours):
        measured = bench.measure("WSGI", [(bare, "untouched"), (ours, "read")], connections=4)

    assert [one.note for one in measured] == ["", ""]
    record(tmp_path / "results.json", "frameworks", "quick, a test", lambda: measured)

    part = load(tmp_path / "results.json")["frameworks"]
    assert series_of(part) == measured
    for one in measured:
        assert all(value > 0 for name in ("rate", "cpu", "p50", "p99") for value in one.rounds[name]), asdict(
            one
        )
    written = page(PAGE.read_text(), {"frameworks": part})
    assert f"| Coatcheck, SQLite | {measured[1].rounds['rate'][0]:,.0f} |" in written
    assert "**Measured once, to see that it works: frameworks." in written


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_says_what_the_results_say(path):
    assert page(path.read_text(), PARTS) == path.read_text(), "run: python -m benchmarks report"


def test_the_charts_show_what_the_results_say():
    for name, text in images(PARTS).items():
        assert (IMAGES / name).read_text() == text, "run: python -m benchmarks report"
        assert name in PAGE.read_text()


BETTER = PAGE.read_text().partition("<!-- begin better -->")[2].partition("<!-- end better -->")[0]


def the_page_names(part, framework, peer, what, said):
    """In the list of just this peer: its title has a version, and its store."""
    session, *store = peer.removeprefix(f"{framework}/").split("/")
    title = rf"{re.escape(session)} [\d.]+{re.escape(''.join(f', {name}' for name in store))}"
    (one,) = (
        one
        for one in re.split(r"^- ", BETTER, flags=re.MULTILINE)
        if re.match(rf"{framework}, {part}: \*\*{title}\*\*", one)
    )
    lines = [line.partition(": ") for line in one.splitlines()[1:]]
    return any(line[0] == f"  - {what}" and said in re.split(r" \(|; |, within", line[2]) for line in lines)


NO_PEERS = {"Coatcheck", "Coatcheck, on demand", "no session", "one GET"}
AXES = {"connections": "at once", "size": "bytes", "stored": "stored", "users": "sessions"}
MEASURES = {"rate": "requests per second", "cpu": "CPU", "p99": "p99", "ms": "time", "bytes": "bytes"}


def test_every_place_where_a_peer_is_better_is_named():
    """Computed here once more, from the file alone."""
    values = {
        (part, one["group"], one["site"], one["work"], one["cores"], one["x"]): one["rounds"]
        for part in ("frameworks", *AXES, "layouts")
        for one in PARTS[part]["series"]
    }
    better = 0
    for (part, group, site, work, cores, x), theirs in values.items():
        if part == "layouts" and site == "Flask-Session":
            ours = values[part, group, "string, swapped", work, cores, x]
            framework = "Flask"
            what = group if work == "bytes" else f"{work}, {group}"
        elif part == "layouts" or not theirs or site.split("/")[1] in NO_PEERS:
            continue
        else:
            framework, _, *stores = site.split("/")
            same = [store for store in ("PostgreSQL", "Memcached") if stores and store in stores[0]]
            beside = "WSGI" if part == "users" else framework
            ours = values[part, group, f"{beside}/Coatcheck/{[*same, 'Redis'][0]}", work, cores, x]
            what = f"{x:,} {AXES[part]}, " if part in AXES else ""
            what += f"{work}, {'one core' if cores == 1 else 'two cores'}"
        if not ours:
            assert the_page_names(part, framework, site, what, "Coatcheck refused requests")
            better += 1
        for measure in MEASURES.keys() & theirs.keys() & ours.keys():
            pairs = zip(theirs[measure], ours[measure], strict=True)
            ratio = statistics.median(a / b if measure == "rate" else b / a for a, b in pairs)
            if ratio > 1:
                place = (part, framework, site, what, f"{MEASURES[measure]} ×{ratio:.2f}")
                assert the_page_names(*place), place
                better += 1
    assert better == BETTER.count("×") + BETTER.count("Coatcheck refused requests")


def a_part(*series):
    """Results of a part; each series is a site, its work, and its readings."""
    made = [
        {"group": "ASGI", "site": f"ASGI/{site}", "work": work, "cores": 1, "x": 64, "rounds": rounds}
        for site, work, rounds in series
    ]
    return {**PARTS["frameworks"], "series": made}


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        ([30.0, 30.1, 29.0], "×0.10 (0.09–0.10), met"),
        ([50.0, 60.0, 70.0], "×0.20 (0.15–0.25), **missed**"),
        ([19.0, 30.0, 40.0], "lost in the noise"),
    ],
)
def test_a_target_is_met_or_missed_by_the_median_and_judged_by_no_round_without_a_cost(ours, said):
    part = a_part(
        ("no session", "untouched", {"cpu": [20.0, 20.0, 20.0]}),
        ("Coatcheck/Redis", "read", {"cpu": ours}),
        ("starsessions/Redis", "read", {"cpu": [120.0, 126.0, 118.0] if ours[0] < 50 else [220.0] * 3}),
    )
    (verdict,) = (one for one in verdicts({"frameworks": part}) if "1/8 of starsessions" in one.text)
    assert verdict.one_core == said
    assert verdict.two_cores == "–"


def test_each_budget_that_is_a_ratio_or_a_time_has_a_target():
    texts = "\n".join(verdict.text for verdict in verdicts(PARTS))
    for budget in (
        *("1/8 of starsessions", "Starlette's signed cookie", "1/4 of starsessions", "1.6 × one GET"),
        *("1.5 × one GET", "1/3 of Flask-Session", "1/2 of the Redis store", "no cookie: at most 5 µs"),
        *("on demand: at most 5 µs", "5 × a plain SET", "1.2 × Flask-Session", "1/2 of `import flask`"),
    ):
        assert budget in texts


def test_parts_that_were_measured_on_different_machines_say_so():
    other = {**PARTS["frameworks"], "machine": {**PARTS["frameworks"]["machine"], "cpu": "Another CPU"}}
    told = page("<!-- begin run --><!-- end run -->", {"frameworks": other, "size": PARTS["size"]})
    assert "frameworks: Another CPU, " in told
    assert f"size: {PARTS['size']['machine']['cpu']}, " in told


@pytest.mark.parametrize("problem", [SystemExit("Flask answers 500"), AssertionError("Flask answers 500")])
def test_a_part_that_could_not_be_measured_in_full_keeps_the_rest_and_says_why(tmp_path, problem):
    def measured():
        yield from series_of(PARTS["size"])[:1]
        raise problem

    with pytest.raises(SystemExit, match="size: Flask answers 500"):
        record(tmp_path / "results.json", "size", "a test", measured)
    parts = load(tmp_path / "results.json")
    assert series_of(parts["size"]) == series_of(PARTS["size"])[:1]
    assert "**Could not be measured: size, Flask answers 500.**" in page(PAGE.read_text(), parts)


def test_a_quick_run_does_not_reach_the_pages():
    with pytest.raises(SystemExit, match="quick measures too little"):
        main(["quick", "--results", str(RESULTS)])


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
    assert "The rounds differ" not in told(100.0, 101.0, 102.0)
    assert "| 60% |" in told(100.0, 150.0, 90.0)
    assert "**The rounds differ by more than 15%: frameworks." in told(100.0, 150.0, 90.0)


@pytest.mark.parametrize("name", sorted(images(PARTS)))
def test_a_chart_fits_and_tells_screen_readers_its_numbers(name):
    chart = ET.fromstring((IMAGES / name).read_text())
    assert chart.get("role") == "img"
    assert {chart.find(f"{SVG}{part}").get("id") for part in ("title", "desc")} == set(
        chart.get("aria-labelledby").split()
    )
    assert any(letter.isdigit() for letter in chart.find(f"{SVG}desc").text)
    machine, day = PARTS["size"]["machine"]["cpu"], re.compile(r", \d+ [A-Z][a-z]{2} \d{4}$")
    foot = list(chart.iter(f"{SVG}text"))[-1].text
    assert foot.startswith(machine)
    assert day.search(foot)
    width = float(chart.get("viewBox").split()[2])
    for text in chart.iter(f"{SVG}text"):
        share = {"start": 1, "middle": 0.5, "end": 0}[text.get("text-anchor")]
        assert float(text.get("x")) + share * len(text.text) * 6.6 <= width, text.text


def test_a_line_is_drawn_where_its_numbers_are():
    chart = ET.fromstring(charts.lines("A title", ("x", "y"), {"one": [(1, 10), (100, 20)]}, "", log=False))
    first, last = ((float(c.get("cx")), float(c.get("cy"))) for c in chart.iter(f"{SVG}circle"))
    assert first[0] < last[0]
    assert last[1] < first[1], "more is higher up"
