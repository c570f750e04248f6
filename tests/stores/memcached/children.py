"""What the tests of Memcached run in processes of their own: ``python memcached_children.py ADDRESS PREFIX KEY NAMES``."""

import sys

from benchmarks.memcached_bench import a_record, apply, opened, update
from coatcheck.model.record import APPLIED


def main(address, prefix, key, *names):
    """Set a field of each name, each by a change of its own."""
    record = a_record(key=bytes.fromhex(key))
    with opened("sync", address, prefix=prefix) as store:
        print("ready", flush=True)
        sys.stdin.readline()
        for name in names:
            assert apply(store, update(record, set={name: b"1"})) == APPLIED


if __name__ == "__main__":
    main(*sys.argv[1:])
