"""A process that edits a session: path of the store, then handle and first number."""

import sys

from coatcheck.stores.sqlite import SQLiteStore
from tests.stores.editing import edit_as_told

path, *told = sys.argv[1:]
edit_as_told(SQLiteStore(path, ballast=0), *told)
