"""A process that writes new sessions until it is killed. Run as a script: the path of the database.

It says when it has stored one, and when the disk is full.
"""

import os
import sys
from pathlib import Path

from coatcheck.stores.sqlite import SQLiteStore

sys.path.insert(0, str(Path(__file__).parents[3]))  # the tests, of which this script is one
from tests.stores.sqlite.scene import NOW, new, soon

store = SQLiteStore(sys.argv[1])
told = set()
while True:
    (answer,) = store.write([new(body=os.urandom(2048))], NOW, soon())
    word = "ready" if answer is None else "full"
    if word not in told:
        print(word, flush=True)
        told.add(word)
