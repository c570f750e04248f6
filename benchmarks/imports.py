"""How long `import coatcheck` takes, beside `import flask`: CPU of a new process, less that of one without the import."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.load import Series

__all__ = ["imports"]

_MODULES = ("", "coatcheck", "flask")


def imports(rounds: int) -> Iterator[Series]:
    """The readings: ms of CPU."""
    series = {name: Series("imports", name or "Python itself", "import", 1, 1) for name in _MODULES}
    order, shuffle = list(_MODULES), random.Random(0).shuffle
    for turn in range(rounds + 1):
        shuffle(order)
        for name in order:
            before = _seconds()
            subprocess.run([sys.executable, "-c", f"import {name or 'sys'}"], check=True)
            if turn:  # the first one writes bytecode
                series[name].add(ms=(_seconds() - before) * 1000)
    yield from series.values()


def _seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
