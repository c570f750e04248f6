"""A PgBouncer of the tests' own, in transaction mode, in front of a PostgreSQL, on a free port of the loopback."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg

from tests.servers.process import HOST, Server, free_port

_PREPARES_SINCE = (1, 21)


class PgBouncer(Server):
    """A pooler as it comes, but for its mode and the number of its server connections."""

    def __init__(self, server, *, connections=3):
        """Put it in front of `server`, with at most so many connections to it."""
        self.server = server
        self.folder = Path(tempfile.mkdtemp(prefix="coatcheck-pgb-"))
        self.port = free_port()
        settings = {
            "listen_addr": HOST,
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_file": self.folder / "users",
            "admin_users": server.user,
            "pool_mode": "transaction",
            "default_pool_size": connections,
            "max_client_conn": 200,
        }
        if _version() >= _PREPARES_SINCE:
            settings["max_prepared_statements"] = 0  # named statements fail here, as in the releases before
        (self.folder / "users").write_text(f'"{server.user}" ""\n')
        (self.folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={HOST} port={server.port}\n[pgbouncer]\n"
            + "".join(f"{name} = {value}\n" for name, value in settings.items())
        )
        command = ["pgbouncer", self.folder / "pgbouncer.ini"]
        if os.getuid() == 0:  # it refuses to run as root
            shutil.chown(self.folder, "postgres", "postgres")
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
        super().__init__(command, directory=self.folder, ready=self._answers, name="pgbouncer")

    def __exit__(self, *_):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self):
        self.show("VERSION")
        return True

    def show(self, what):
        """The rows that its console answers, each a dict."""
        options = {"host": HOST, "port": self.port, "user": self.server.user, "dbname": "pgbouncer"}
        # The console knows no other protocol than the simple one, and no transactions.
        with psycopg.connect(**options, autocommit=True, cursor_factory=psycopg.ClientCursor) as console:
            cursor = console.execute(f"SHOW {what}")
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def url(self):
        return self.server.url(self.port)


def _version():
    told = subprocess.run(["pgbouncer", "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in re.search(r"(\d+)\.(\d+)", told).groups())
