"""Print, per framework, how many of its tests ran and failed with its own sessions and with ours."""

import tempfile

from tests.conformance.suites import SUITES, run

if __name__ == "__main__":
    for name in SUITES:
        for ours in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                ran = run(name, folder, ours=ours)
            print(f"{name}, {'ours' if ours else 'its own'}: {ran.number} ran, {len(ran.failed)} failed")
            for each in ran.failed:
                print(f"  {each}")
