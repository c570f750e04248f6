"""A site whose file is replaced while it runs. Run as a script: the path of the database, and a key.

For each line that it reads, a time, it says what lies under the key then, or what kind of failure there is.
"""

import sys
from pathlib import Path

from coatcheck.errors import StoreUnavailable
from coatcheck.stores.sqlite import SQLiteStore

sys.path.insert(0, str(Path(__file__).parents[3]))  # the tests, of which this script is one
from tests.stores.sqlite.scene import soon

store = SQLiteStore(sys.argv[1], ballast=0)
for line in sys.stdin:
    try:
        (found,) = store.load([bytes.fromhex(sys.argv[2])], int(line), soon())
        print(found and found.data.hex(), flush=True)
    except StoreUnavailable:
        print("unavailable", flush=True)
