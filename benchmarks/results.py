"""One format of results: a JSON file with an entry for each part, its machine, date, versions and readings."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.load import FAILURES, ROOT, Series, left_out
from benchmarks.sites import SITES

__all__ = ["Part", "day_of", "load", "record", "series_of"]

Part = dict[str, Any]
# Debian puts each release into a folder of its own.
_POSTGRES = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/postgres")))[-1:] or ["postgres"]
_SERVERS = ("gunicorn", "uvicorn", "uvloop", "httptools", "hiredis", "psycopg", "pymemcache", "msgspec")


def load(path: Path) -> dict[str, Part]:
    """The parts of a file."""
    return json.loads(path.read_text()) if path.exists() else {}


def series_of(part: Part) -> list[Series]:
    return [Series(**series) for series in part["series"]]


def day_of(part: Part, form: str = "%B") -> str:
    """The day on which it was measured."""
    day = dt.datetime.fromisoformat(part["date"])
    return f"{day.day} {day:{form} %Y}"


def record(path: Path, name: str, command: str, readings: Callable[[], Iterable[Series]]) -> None:
    """Measure a part, and put it into the file in the place of an older one.

    Raises:
        SystemExit: Some of it could not be measured. The file has the rest, and the reason.
    """
    start, busy, commit = time.monotonic(), os.getloadavg()[0], _commit()
    series: list[dict[str, Any]] = []
    failed = ""
    try:
        series.extend(map(asdict, readings()))
    except FAILURES as problem:
        failed = str(problem)
    parts = load(path) | {
        name: {
            "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "command": command,
            "commit": commit,
            "seconds": round(time.monotonic() - start),
            "load_before": round(busy, 2),  # other programs that wanted a core
            "machine": _machine(),
            "versions": _versions(),
            "left_out": _left_out(series),
            "failed": failed,
            "series": series,
        }
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_text(parts))
    if failed:
        raise SystemExit(f"{name}: {failed}")


def _text(parts: dict[str, Part]) -> str:
    """JSON with a line for each series."""
    entries = []
    for name, part in sorted(parts.items()):
        head = json.dumps({key: value for key, value in part.items() if key != "series"}, indent=1)
        lines = ",\n  ".join(map(json.dumps, part["series"]))
        entries.append(f'"{name}": {head[:-2]},\n "series": [\n  {lines}\n ]}}')
    return "{" + ",\n".join(entries) + "}\n"


def _commit() -> str:
    """What was measured. The results of an earlier part are no change of it."""
    git = ("git", "-C", str(ROOT))
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        return "unknown"
    changed = _said(*git, "status", "--porcelain", "--", "src", "benchmarks/*.py")
    return _said(*git, "rev-parse", "--short=12", "HEAD") + "-dirty" * bool(changed)


def _left_out(series: list[dict[str, Any]]) -> dict[str, str]:
    """The sites that could not stand beside those that were measured, with the reasons."""
    measured = {one["site"] for one in series}
    groups = {one["group"] for one in series}
    others = [site for site in SITES.values() if site.framework in groups and site.name not in measured]
    return {site.name: why for site in others if (why := left_out(site))}


def _machine() -> dict[str, Any]:
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s*(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "threads_per_core": len(_siblings().replace("-", ",").split(",")),
        "memory_gib": round(int(memory[1]) / 2**20) if memory else None,
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
    }


def _siblings() -> str:
    """The CPUs that are one core with the first."""
    path = Path("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list")
    return path.read_text().strip() if path.exists() else "0"


def _versions() -> dict[str, str]:
    packages = {*_SERVERS, *(site.package for site in SITES.values() if site.package)}
    found = {"Python": sys.version.split()[0]}
    for package in sorted(packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found | {
        "Redis": _number("redis-server", "--version"),
        "Memcached": _number("memcached", "--version"),
        "PostgreSQL": _number(*_POSTGRES, "--version"),
        "MariaDB": _number("mariadbd", "--version"),
        "SQLite": sqlite3.sqlite_version,
        "wrk": _number("wrk", "--version"),
    }


def _number(*command: str) -> str:
    """The version in what a program says of itself."""
    if shutil.which(command[0]) is None:
        return "none"
    found = re.search(r"\d+\.\d+(\.\d+)?", _said(*command))
    return found[0] if found else "?"


def _said(*command: str) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return (ran.stdout or ran.stderr).strip()
