"""A process that edits a session many times: URL, prefix, secret, handle, the first number, and how many."""

import signal
import sys
from datetime import timedelta

from coatcheck import Sessions
from coatcheck.stores.redis import from_url

signal.alarm(90)
url, prefix, secret, handle, start, many = sys.argv[1:]
with Sessions(from_url(url, prefix=prefix), secret=secret, deadline=timedelta(seconds=60)) as sessions:
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(int(start), int(start) + int(many)):
        with sessions.edit(handle) as session:
            session["list"].append(number)
            session["set"].add(number)
            session["dict"][str(number)] = number
            session[f"field {number}"] = number
