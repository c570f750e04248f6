"""A process that writes to a full disk until it is killed. Run as a script: the path of the database."""

import os
import sys
from pathlib import Path

from coatcheck.stores.sqlite import SQLiteStore

sys.path.insert(0, str(Path(__file__).parents[3]))  # the tests, of which this script is one
from tests.stores.sqlite.scene import NOW, new, soon

store = SQLiteStore(sys.argv[1])
told = False
while True:
    (answer,) = store.write([new(body=os.urandom(2048))], NOW, soon())
    if answer is not None and not told:
        print("full", flush=True)
        told = True
