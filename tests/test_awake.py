"""The clock by which tests say how quick something was."""

import signal
import subprocess
import sys
import time

from tests.awake import awake
from tests.servers.process import until

PROGRAM = """
import sys, time
from tests.awake import awake
began, real = awake(), time.monotonic()
print(flush=True)
sys.stdin.readline()
print(awake() - began, time.monotonic() - real)
"""


def test_it_goes_like_any_clock():
    real, began = time.monotonic(), awake()
    time.sleep(0.3)
    assert awake() - began <= time.monotonic() - real
    until(lambda: awake() - began >= 0.3, "it goes on")


def test_it_counts_the_time_for_which_one_call_kept_all_threads_from_running():
    began, computed = awake(), time.process_time()
    sum(range(30_000_000))
    assert awake() - began > (time.process_time() - computed) / 2


def test_it_does_not_count_the_time_for_which_the_process_was_stopped():
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        time.sleep(2)
        process.send_signal(signal.SIGCONT)
        said, _ = process.communicate("\n")
    counted, real = map(float, said.split())
    assert real >= 2
    assert counted < real - 1.5


def test_a_sleep_that_a_test_has_replaced_is_left_to_the_test(monkeypatch):
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    began = awake()
    while awake() - began < 0.2:
        pass
    assert slept == []
