"""Run each framework's tests with its own sessions and with ours, and write the page of the figures."""

import sys
import tempfile

from tests.conformance.page import PAGE, page
from tests.conformance.suites import SUITES, Listed, complaints, run


def main():
    numbers, wrong = {}, []
    for name in SUITES:
        listed = Listed(name)
        named = {"own": listed.own.keys(), "ours": listed.all.keys()}
        for sessions, names in named.items():
            with tempfile.TemporaryDirectory() as folder:
                ran = run(name, folder, sessions=sessions)
            print(f"{name}, {sessions}: {len(ran.names)} ran, {len(ran.failed)} failed", flush=True)
            wrong += [f"with {sessions}: {each}" for each in complaints(ran, names)]
            if numbers.setdefault(name, len(ran.names)) != len(ran.names):
                wrong.append(f"{name}: another number of tests ran with ours than with its own")
    if wrong:
        sys.exit("\n".join(wrong))
    PAGE.write_text(page(numbers))


if __name__ == "__main__":
    main()
