"""What a site under test is asked to do, and where the stores are."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tests.servers.process import HOST

__all__ = ["FIELDS", "SECRET", "SIZES", "WORK", "Stores"]

SECRET = "xZ7-fJ2kQ9wLr4TnVb8sHd3YpMc6Ge1u"
FIELDS = {"theme": "dark", "basket": [{"sku": 7, "count": 2}, {"sku": 9, "count": 1}], "n": 0}
SIZES = (100, 2_000, 40_000, 1_000_000)
"""Bytes that a session holds beside `FIELDS`, where its size is what is measured."""
_number = itertools.count()


@dataclass(frozen=True)
class Stores:
    """Where the servers listen, and a folder for files."""

    folder: str
    redis: int = 0
    memcached: int = 0
    postgres: str = ""

    @property
    def redis_url(self) -> str:
        return f"redis://{HOST}:{self.redis}/0"

    def url(self, store: str) -> str:
        return {
            "SQLite": f"sqlite:///{self.folder}/sites.db",
            "Redis": self.redis_url,
            "Memcached": f"memcached://{HOST}:{self.memcached}",
            "PostgreSQL": self.postgres,
        }[store]

    def environment(self) -> dict[str, str]:
        return {"BENCHMARK_STORES": json.dumps(asdict(self))}

    @classmethod
    def of_environment(cls) -> Stores:
        return cls(**json.loads(os.environ["BENCHMARK_STORES"]))


def _fill(session: Any) -> None:
    for name, value in FIELDS.items():
        session[name] = value


def _filler(size: int) -> Callable[[Any], None]:
    def orders() -> Iterator[dict[str, Any]]:
        for number in range(max(1, size // 70)):  # of some 70 bytes, that compress as real ones do
            title = hashlib.sha256(b"%d" % number).hexdigest()[:20]
            yield {"sku": f"A-{number}", "title": title, "count": number % 5, "price": f"{number % 97}.90"}

    def fill(session: Any) -> None:
        _fill(session)
        session["orders"] = list(orders())

    return fill


def _read(session: Any) -> None:
    _ = session["theme"]


def _write(session: Any) -> None:
    session["n"] = next(_number)


def _whole(session: Any) -> None:
    _ = session["orders"][0]


WORK: Mapping[str, Callable[[Any], None] | None] = {
    "untouched": None,
    "read": _read,
    "write": _write,
    "whole": _whole,
    "fill": _fill,
    **{f"fill-{size}": _filler(size) for size in SIZES},
}
"""What a request to each path does with the session. "whole" reads the field that makes a session large."""
