"""A PostgreSQL of the tests' own: a cluster in a folder, on a free port of the loopback."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg

from tests.servers.process import HOST, Server, free_port

# Debian puts each release into a folder of its own.
BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
_CONFIGURATION = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "150",
    "autovacuum_naptime": "5s",
    "deadlock_timeout": "100ms",
    "listen_addresses": f"'{HOST}'",
    "logging_collector": "off",
}


class PostgreSQL(Server):
    """A server with one superuser, whom it asks no password."""

    def __init__(self, **configuration):
        self.folder = Path(tempfile.mkdtemp(prefix="coatcheck-pg-"))
        self.port = free_port()
        self.user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        # It refuses to run as root.
        self._as = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] * (os.getuid() == 0)
        if self._as:
            shutil.chown(self.folder, "postgres", "postgres")
        data = self.folder / "data"
        made = subprocess.run(
            [
                *(*self._as, BIN / "initdb", "-D", data, "-U", self.user, "-A", "trust"),
                *("-E", "UTF8", "--no-locale", "--no-sync"),
            ],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stderr
        settings = {**_CONFIGURATION, "unix_socket_directories": f"'{self.folder}'", **configuration}
        with (data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())
        command = [*self._as, BIN / "postgres", "-D", data, "-p", self.port]
        super().__init__(command, directory=self.folder, ready=self._answers, name="postgres")

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self):
        self.execute("SELECT 1")
        return True

    def stop(self, how=signal.SIGINT):
        """End it without waiting for its clients to go."""
        super().stop(how)

    def restart(self, how=signal.SIGINT):
        super().restart(how)

    def restart_immediately(self):
        """As after a crash: connections are cut, transactions under way are lost."""
        self.restart(signal.SIGQUIT)

    def pause(self):
        """The server itself, and the process of each connection."""
        super().pause()
        for pid in self.children():
            os.kill(pid, signal.SIGSTOP)

    def resume(self):
        for pid in self.children():
            os.kill(pid, signal.SIGCONT)
        super().resume()

    def children(self):
        """The processes of its connections, and of its housekeeping."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def connect(self, **options):
        return psycopg.connect(
            host=HOST, port=self.port, user=self.user, dbname="postgres", autocommit=True, **options
        )

    def execute(self, sql, parameters=None):
        """Its rows, if it has any."""
        with self.connect(connect_timeout=5) as connection:
            cursor = connection.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    def url(self, port=None):
        return f"postgresql://{self.user}@{HOST}:{port or self.port}/postgres"
