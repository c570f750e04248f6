"""Whether Django's connection is open after each call about an old session. Arguments: the cookies of two visitors.

First in the threads of an async manager, then in a thread that has used its connection before.
"""

import json
import sys
import time

from django.db import connection

from coatcheck.migrate import DjangoSessions
from tests.migrate.apps import django_app
from tests.migrate.house import House


class Watched(DjangoSessions):
    """Notes whether the connection of the thread is open."""

    opened = ()

    def read(self, old_id, now):
        old = super().read(old_id, now)
        self.opened += (connection.connection is not None,)
        return old

    def remove(self, old_id):
        super().remove(old_id)
        self.opened += (connection.connection is not None,)


def opened(kind, cookies):
    house = House(kind, Watched(), clock=time.time)
    fields, _ = house.visit(cookies.encode())
    house.close()
    return [*house.library.opened, "cart" in fields]


first, second = sys.argv[1:]
beside = opened("async", first)
django_app.get_user_model().objects.get()
print(json.dumps([beside, opened("sync", second)]))
