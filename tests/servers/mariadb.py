"""A MariaDB of the tests' own: its files in a folder, on a free port of the loopback."""

import os
import shutil
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path

import pymysql

from tests.servers.process import HOST, Server, free_port

USER, PASSWORD, DATABASE = "coatcheck", "coatcheck", "coatcheck"
_OPTIONS = (
    "--skip-networking=0",
    "--skip-name-resolve",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
    "--innodb-buffer-pool-size=32M",
    "--innodb-log-file-size=16M",
    "--skip-log-bin",
    "--max-connections=150",
    "--performance-schema=OFF",
)


class MariaDB(Server):
    """A server with one database, and one user who may do everything."""

    def __init__(self, *options):
        self.folder = Path(tempfile.mkdtemp(prefix="coatcheck-my-"))
        self.port = free_port()
        self.socket = self.folder / "s.sock"
        user = []
        if os.getuid() == 0:
            shutil.chown(self.folder, "mysql", "mysql")
            user = ["--user=mysql"]
        data = self.folder / "data"
        # A server that starts removes what others have left in its folder for temporary tables.
        user.append(f"--tmpdir={self.folder}")
        made = subprocess.run(
            [
                *("mariadb-install-db", "--no-defaults", f"--datadir={data}", *user, "--skip-test-db"),
                *("--auth-root-authentication-method=normal", "--innodb-flush-method=nosync"),
            ],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stdout + made.stderr
        start = self.folder / "start.sql"
        start.write_text(
            f"CREATE DATABASE IF NOT EXISTS {DATABASE};\n"
            f"CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';\n"
            f"GRANT ALL PRIVILEGES ON *.* TO '{USER}'@'%' WITH GRANT OPTION;\n"
        )
        start.chmod(0o644)
        command = ["mariadbd", "--no-defaults", *user, f"--datadir={data}", f"--socket={self.socket}"]
        command += [
            f"--port={self.port}",
            f"--bind-address={HOST}",
            f"--init-file={start}",
            *_OPTIONS,
            *options,
        ]
        super().__init__(command, directory=self.folder, ready=self._answers, name="mariadbd")

    def __exit__(self, *_):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self):
        self.execute("SELECT 1")
        return True

    def connect(self, **options):
        return pymysql.connect(
            host=HOST,
            port=self.port,
            user=USER,
            password=PASSWORD,
            database=DATABASE,
            autocommit=True,
            connect_timeout=5,
            **options,
        )

    def execute(self, sql, parameters=None):
        """Its rows, if it has any."""
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchall()

    def url(self, port=None):
        return f"mysql://{USER}:{PASSWORD}@{HOST}:{port or self.port}/{DATABASE}"
