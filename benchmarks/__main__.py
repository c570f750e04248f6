"""`python -m benchmarks [quick] [PART …]` measures the parts that are named, or all, and writes the page.

With `quick`, everything is measured once and little of it, to see that it works; the pages stay as they are. `report`
only writes the pages and their charts, from the results that there are. `--results FILE` keeps the results elsewhere.
"""

import os
import sys
from pathlib import Path

from benchmarks.load import ROOT
from benchmarks.parts import FULL, PARTS, QUICK
from benchmarks.report import write
from benchmarks.results import record

_QUIET = 0.5
RESULTS = ROOT / "benchmarks" / "results.json"


def main(arguments: list[str]) -> None:
    """Do what the arguments say."""
    command = " ".join(["python -m benchmarks", *arguments])
    results = ROOT / "build" / "benchmarks.json" if "quick" in arguments else RESULTS
    if "--results" in arguments:
        place = arguments.index("--results")
        if not arguments[place + 1 :]:
            raise SystemExit("--results needs a file")
        results = Path(arguments[place + 1]).absolute()
        arguments = arguments[:place] + arguments[place + 2 :]
    profile = QUICK if "quick" in arguments else FULL
    named = [name for name in arguments if name != "quick"]
    if unknown := set(named) - {*PARTS, "report"}:
        raise SystemExit(f"no such part: {', '.join(sorted(unknown))}\n{__doc__}")
    if results == RESULTS and profile is QUICK:
        raise SystemExit("quick measures too little for the pages: name another file")
    if (busy := os.getloadavg()[0]) > _QUIET and named != ["report"]:
        print(f"other programs are busy (load {busy:.1f}), which disturbs", file=sys.stderr)
    failed = []
    for name in named or PARTS:
        if name in PARTS:
            print(f"{name} …", file=sys.stderr, flush=True)
            try:
                record(results, name, command, lambda part=PARTS[name]: part(profile))
            except SystemExit as problem:
                failed.append(str(problem))
    if results == RESULTS:
        write(results)
    else:
        print(f"{results}; the pages are as they were", file=sys.stderr)
    if failed:
        raise SystemExit("\n".join(failed))


if __name__ == "__main__":
    main(sys.argv[1:])
