"""A process that edits a session: URL and prefix of the store, then handle and first number."""

import sys

from coatcheck.stores.redis import from_url
from tests.stores.editing import edit_as_told

url, prefix, *told = sys.argv[1:]
edit_as_told(from_url(url, prefix=prefix), *told)
