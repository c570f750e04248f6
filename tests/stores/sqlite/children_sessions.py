"""A process that edits a session many times: path, secret, handle, the first number, and how many."""

import signal
import sys
from datetime import timedelta

from coatcheck import Sessions
from coatcheck.stores.sqlite import SQLiteStore

signal.alarm(90)
path, secret, handle, start, many = sys.argv[1:]
with Sessions(SQLiteStore(path, ballast=0), secret=secret, deadline=timedelta(seconds=60)) as sessions:
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(int(start), int(start) + int(many)):
        with sessions.edit(handle) as session:
            session["list"].append(number)
            session["set"].add(number)
            session["dict"][str(number)] = number
            session[f"field {number}"] = number
