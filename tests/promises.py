"""Which test holds which promise, on which store: `make promises` writes docs/reference/promises.md from it.

A test says what it holds by `@pytest.mark.promise("12", "F-10")`, on itself, its class or its module. The contract
that ships in `coatcheck.testing` carries no markers, since it runs in other people's projects: PARTS has them.
"""

import contextlib
import io
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/reference/promises.md"

PROMISES = {
    "1": "An untouched session costs nothing",
    "2": "Reading is one round trip and writes nothing",
    "3": "All changes of a request are one read and one write",
    "4": "Sliding writes seldom",
    "5": "An anonymous visit stores nothing",
    "6": "Changes of different fields all stand",
    "7": "A request that only read undoes nothing",
    "8": "A nested change is kept, and reading never writes",
    "9": "Stored before the response leaves",
    "10": "What can't be read is left alone",
    "11": "Each flash message is shown once",
    "12": "An ended session stays ended",
    "13": "Signing in changes the secret",
    "14": "Periodic rotation logs nobody out",
    "15": "A made-up token is never adopted",
    "16": "Idle and absolute limits, to the second",
    "17": "`revoke_user`, lists and limits are complete",
    "18": "No token, secret or value leaks",
    "19": "No format that runs code",
    "20": "An outage is never an empty session",
    "21": "Too large or not storable: an error before anything is written",
    "22": "No bytes from a client are an exception",
    "23": "A handler that raises writes nothing but endings and saves",
    "24": "Usable after a shutdown, nothing leaked by loop, fork or thread",
    "25": "Wrong objects and settings are refused at the start",
    "M": "Merging: edits are merged, assignments are not",
    "V": "What the verbs mean",
    "C": "What a field can hold",
    "H": "Cookie, headers, streams",
    "L": "A lost answer is never applied twice",
    "B": "Batches: each caller gets its own answer",
    "F-01": "The store refuses connections",
    "F-02": "A silent or slow store",
    "F-03": "A reset after the request was sent",
    "F-04": "A reply that is cut or sliced",
    "F-05": "A cancelled request",
    "F-06": "An exhausted pool",
    "F-07": "A failover of Sentinel",
    "F-08": "A failover that loses acknowledged writes",
    "F-09": "A cluster loses a node or moves keys",
    "F-10": "Full memory",
    "F-11": "A server that takes no writes",
    "F-12": "Memcached restarts, evicts, loses a node",
    "F-13": "SQLite is busy",
    "F-14": "A process is killed in the middle",
    "F-15": "A full or read-only disk",
    "F-16": "A database restarts, ends connections, rolls back",
    "F-17": "Clocks that disagree",
    "F-18": "Forks, several loops and threads",
    "F-19": "Sweeping beside use",
    "F-20": "A response that has already begun",
    "F-21": "Other versions, and new secrets in the ring",
    "F-22": "A record that is damaged or of another type",
    "F-23": "An index that has drifted from the records",
    "F-24": "A listener that raises",
}

# A class that suites are put together of, or one of its tests in place of the class, and what it holds. (A marker on
# such a class would count for the whole suite.)
PARTS = {
    "Headers": ["H"],
    "Outage": ["20"],
    "Privacy": ["18"],
    "Requests": ["H"],
    "Streaming": ["23", "F-20", "H"],
    "Batches": ["B"],
    "Beside": ["17"],
    "Counting": ["17"],
    "Expiry": ["16"],
    "Listing": ["17"],
    "Parallel": ["6"],
    "Service": [],  # test by test
    "Values": ["C"],
    "Within": ["17"],
    "Writing": ["6"],
    "a_call_whose_deadline_has_passed_comes_back_at_once": ["20", "F-02"],
    "a_cancelled_write_is_done_as_a_whole_or_not_at_all": ["F-05"],
    "a_closed_store_can_be_used_again_and_finds_its_data": ["24"],
    "a_note_whose_deadline_has_passed_comes_back_at_once": ["20", "F-02"],
    "a_removal_tells_whether_something_lay_there": ["12"],
    "a_sweep_leaves_what_another_request_prolongs_at_the_same_time": ["F-19"],
    "a_sweep_never_removes_live_data": ["16", "F-19"],
    "a_sweep_removes_no_more_than_it_was_told_and_tells_how_many": ["F-19"],
    "a_write_that_expects_a_version_never_creates": ["12"],
    "a_write_that_expects_nothing_is_never_done_over_bytes_that_it_can_not_read": ["10", "F-22"],
    "a_write_that_expects_nothing_is_never_done_over_data": ["12", "15"],
    "after_cancelled_loads_each_caller_gets_its_own_data": ["B", "F-05"],
    "another_process_sees_at_once_what_was_answered": ["9"],
    "batches_that_meet_in_opposite_order_are_all_carried_out": ["B", "6"],
    "bytes_that_it_can_not_read_are_loaded_as_they_are_and_can_be_replaced": ["10", "12", "F-22"],
    "bytes_that_it_can_not_read_can_be_removed": ["10", "F-22"],
    "closing_a_store_leaves_others_over_the_same_data_open": ["24"],
    "forgetting_a_sign_in_leaves_the_later_one_of_the_same_moment": ["17", "F-23"],
    "loading_writes_nothing": ["7"],
    "loads_at_once_each_get_their_own_data": ["B"],
    "loads_beside_writes_see_whole_data": ["B"],
    "of_many_writes_that_expect_nothing_exactly_one_is_done": ["15"],
    "sign_ins_and_endings_at_the_same_time_leave_a_true_index": ["17", "F-23"],
    "the_store_answers_a_ping": ["20"],
}

# Engines that are wrong in one place, and the test that catches each.
ENGINE_TWINS = {
    "re-applies blindly": "a_lost_answer_is_never_applied_twice_whoever_writes_in_between",
    "writes without `allow-oom`": "what_ends_or_does_not_grow_must_work_in_full_memory",
    "leaves the driver's retries on": "the_retries_of_the_client_never_repeat_a_write",
    "runs the loop in the request's task": (
        "the_change_of_a_request_that_is_cancelled_is_carried_out_after_a_conflict_too"
    ),
    "destroys without a condition": "an_ending_for_another_user_or_sign_in_ends_nothing",
    "never says that an answer is ambiguous": "a_lost_answer_is_never_applied_twice_whoever_writes_in_between",
    "gives up an ending with the other changes": "an_ending_whose_answer_was_lost_is_certain_all_the_same",
    "lets the later edit stand": "edits_of_one_list_that_meet_are_both_kept",
    "writes back the copy that was read": "a_change_is_applied_to_the_record_that_is_there_now",
    "ends a login that the request never saw": (
        "a_late_anonymous_sign_out_leaves_a_fresh_login_alone_and_its_cookie"
    ),
    "loses a logout beside a sign-in of the same user": "a_sign_out_ends_what_its_user_did_meanwhile",
    "writes over tombstones": "nothing_lands_on_a_tombstone",
    "refuses a take because another change grows": "a_growing_change_never_refuses_another_s_take",
    "refuses a change by what its caller knew": "no_change_is_refused_by_what_its_caller_knew_alone",
    "shows a request what a sign-in behind it has stored": (
        "a_request_never_sees_what_a_sign_in_behind_it_in_the_same_write_has_stored"
    ),
    "merges what was assigned": "what_is_assigned_is_never_merged_and_what_was_read_and_edited_is",
    "lets two batches change one record at once": "items_of_one_key_are_never_in_two_batches_at_once",
}

# The column of a test is the first of these words in its name and parameters, else in its fixtures, else in its path.
# A test without any has memory, or no store.
STORES = {
    "memcached": "Memcached",
    "sentinel": "Redis Sentinel",
    "cluster": "Redis Cluster",
    "redis": "Redis",
    "postgresql": "PostgreSQL",
    "mariadb": "MariaDB",
    "mysql": "MariaDB",
    "sqlite": "SQLite",
}
COLUMNS = ("memory or none", "SQLite", "Redis", "Redis Sentinel", "Redis Cluster")
COLUMNS += ("PostgreSQL", "MariaDB", "Memcached")
COLLECT = ("--collect-only", "--assert=plain", "-qqq", "-m", "", "-W", "ignore", "-p", "no:cacheprovider")
ASYNC = ("async", "asgi", "coalesce", "fastapi", "starlette", "uvloop", "websocket")


def base_of(item):
    """The class that defines a test, which may be one that others derive from, or None."""
    bases = item.cls.__mro__ if item.cls else ()
    return next((base for base in bases if item.originalname in vars(base)), None)


def mark(item):
    """Put on a test of a shared suite what PARTS says of it."""
    base = base_of(item)
    if base and base.__name__ in PARTS:
        name = item.originalname.removeprefix("test_")
        item.add_marker(pytest.mark.promise(*PARTS.get(name, PARTS[base.__name__])))


def promises_of(item):
    promises = {promise for found in item.iter_markers("promise") for promise in found.args}
    if unknown := sorted(promises - PROMISES.keys()):
        raise pytest.UsageError(
            f"{item.nodeid} holds the promise {', '.join(unknown)}, which tests/promises.py doesn't name. "
            "Name it there, then run `make promises`."
        )
    return promises


def column_of(node_id, fixtures=()):
    path, _, name = node_id.lower().partition("::")
    for words in (name, " ".join(fixtures), path):
        for word, column in STORES.items():
            if word in words:
                return column
    return COLUMNS[0]


def is_async(node_id):
    return any(word in node_id.lower() for word in ASYNC)


def file_of(item):
    base = base_of(item)
    path = Path(sys.modules[base.__module__].__file__) if base else item.path
    return path.relative_to(ROOT).as_posix()


def twins_of_the_contract():
    from tests.testing.test_contract_bites import Twin

    twins = defaultdict(list)
    for twin in Twin.twins:
        for name in twin.bites.split():
            twins[name].append(twin.__name__)
    return twins


def page_of(items):
    cells, tests = defaultdict(set), defaultdict(lambda: defaultdict(set))
    for item in items:
        file, name = file_of(item), item.originalname.removeprefix("test_")
        column = column_of(item.nodeid, item.fixturenames)
        for promise in promises_of(item):
            cells[promise, column, is_async(item.nodeid)].add((file, name))
            tests[promise][file].add(name)
    twins = twins_of_the_contract()
    return "\n".join([*_table(cells), *_tests(tests, twins)]) + "\n"


def _table(cells):
    yield from (
        "# The table of promises",
        "",
        "`make promises` writes this page from the markers of the tests; a test fails while it is out of date.",
        "A cell has the number of tests that hold the promise on that store, sync / async. Numbers are rules of the",
        "design, F-nn are faults that are caused on purpose. A test that runs with several parameters counts once.",
        "",
        f"| promise | {' | '.join(COLUMNS)} |",
        f"|---|{'---|' * len(COLUMNS)}",
    )
    for promise, words in PROMISES.items():
        counts = [[len(cells[promise, column, kind]) for kind in (False, True)] for column in COLUMNS]
        shown = [" / ".join(str(n or "–") for n in pair) if any(pair) else "–" for pair in counts]
        yield f"| **{promise}** {words} | {' | '.join(shown)} |"


def _tests(tests, twins):
    yield from ("", "## Twins of the engine", "", "| an engine that … | is caught by |", "|---|---|")
    for twin, test in ENGINE_TWINS.items():
        yield f"| {twin} | {f'`{test}`' if test else '–'} |"
    yield from ("", "## The tests of each promise", "")
    yield "In brackets: twins of the memory store, each broken in one place, on which the test is seen to fail."
    for promise, words in PROMISES.items():
        yield from ("", f"### {promise}: {words}", "")
        if not tests[promise]:
            yield "None yet."
        for file, names in sorted(tests[promise].items()):
            yield f"- {file}"
            for name in sorted(names):
                caught = ", ".join(twins[name]) if "/contract/" in file else ""
                yield f"  - `{name}`{caught and f' ({caught})'}"


class Collector:
    def pytest_collection_finish(self, session):
        self.items = session.items


def main(page=PAGE):
    collector, output = Collector(), io.StringIO()
    with contextlib.redirect_stdout(output):
        code = pytest.main([*COLLECT, str(ROOT / "tests")], [collector])
    if code:
        sys.exit(output.getvalue())
    Path(page).write_text(page_of(collector.items))


if __name__ == "__main__":
    main(*sys.argv[1:])
