"""`python -m benchmarks [quick] [PART …]` measures the parts that are named, or all, and writes the page.

With `quick`, everything is measured once and little of it, to see that it works. `report` only writes the page and its
charts, from the results that there are. `--results FILE` keeps them elsewhere, and leaves the page as it is.
"""

import sys
from pathlib import Path

from benchmarks.load import ROOT
from benchmarks.parts import FULL, PARTS, QUICK
from benchmarks.report import write
from benchmarks.results import record

RESULTS = ROOT / "benchmarks" / "results.json"


def main(arguments: list[str]) -> None:
    """Do what the arguments say."""
    command = " ".join(["python -m benchmarks", *arguments])
    results = ROOT / "build" / "benchmarks.json" if "quick" in arguments else RESULTS
    if "--results" in arguments:
        place = arguments.index("--results")
        results = Path(arguments[place + 1]).absolute()
        arguments = arguments[:place] + arguments[place + 2 :]
    profile = QUICK if "quick" in arguments else FULL
    named = [name for name in arguments if name != "quick"]
    if unknown := set(named) - {*PARTS, "report"}:
        raise SystemExit(f"no such part: {', '.join(sorted(unknown))}\n{__doc__}")
    for name in named or PARTS:
        if name in PARTS:
            print(f"{name} …", file=sys.stderr, flush=True)
            record(results, name, command, lambda part=PARTS[name]: part(profile))
    if results == RESULTS:
        write(results)
    else:
        print(f"{results}; the page is as it was", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
