"""A process of its own that changes a record in Memcached: ``python children.py ADDRESS PREFIX KEY NAMES``."""

import sys

from tests.stores.engine import stored
from tests.stores.memcached.scene import a_record, applied, opened, update


def main(address, prefix, key, *names):
    """Set a field of each name, each by a change of its own."""
    record = a_record(key=bytes.fromhex(key))
    with opened("sync", address, prefix=prefix) as store:
        print("ready", flush=True)
        sys.stdin.readline()
        for name in names:
            assert name in stored(applied(store, update(record, set={name: b"1"}))).fields


if __name__ == "__main__":
    main(*sys.argv[1:])
