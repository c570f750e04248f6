"""Redis in the shapes that are one server: as it is, and behind TLS and an ACL. The others are beside this.

Each is a context manager, with the URLs that a store is made of, on free ports, in a folder that goes with it. What
watches over other servers is calm at first, so that a busy machine is not taken for a dead server; `hasty` lets it
look as closely as the tests of a failover want.
"""

import datetime as dt
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import redis
import trustme
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers.process import HOST, Server, free_port

CALM, HASTY = 15_000, 1_000  # ms without an answer, after which a server counts as dead

NEVER = Retry(NoBackoff(), 0)


class RedisServer(Server):
    """One `redis-server` that keeps nothing on disk, unless it is told to."""

    def __init__(self, directory, *, port=None, tls=None, name=None, **options):
        """Make it; `start` starts it.

        Args:
            directory: Where it runs.
            port: Where it listens; None: on a free port.
            tls: The certificates, if it takes nothing but TLS.
            name: What to call it in messages.
            options: Lines of its configuration, with "_" for "-"; of several values, a tuple.
        """
        self.port, self.tls = port or free_port(), tls
        name = name or f"redis-{self.port}"
        home = Path(directory) / name
        home.mkdir(parents=True, exist_ok=True)
        given = {
            "bind": HOST,
            "port": 0 if tls else self.port,
            "save": "",
            "appendonly": "no",
            "dir": home,
            "repl_diskless_sync_delay": 0,
            "repl_ping_replica_period": 1,
            **(tls.options(self.port) if tls else {}),
            **options,
        }
        command = ["redis-server"]
        for option, value in given.items():
            values = value if isinstance(value, tuple) else (value,)
            command += [f"--{option.replace('_', '-')}", *values]
        super().__init__(command, directory=home, ready=lambda: self.ask("PING"), name=name)

    @property
    def address(self):
        return f"{HOST}:{self.port}"

    @property
    def url(self):
        return f"redis://{self.address}/0"

    def client(self, **options):
        """A client of its own for the test, which closes it."""
        given = {"host": HOST, "port": self.port, "socket_timeout": 10, "retry": NEVER}
        if self.tls:
            given |= self.tls.client_options | {"username": "admin", "password": ADMIN}
        return redis.Redis(**given | {"protocol": 3} | options)

    def ask(self, *command, **options):
        """What the server answers to one command."""
        with self.client(**options) as client:
            return client.execute_command(*command)

    def told(self, section):
        """One section of what the server tells of itself."""
        return self.ask("INFO", section)


@contextmanager
def folder():
    """A folder for servers, short enough for the path of a socket, that goes at the end."""
    path = Path(tempfile.mkdtemp(prefix="coatcheck-redis-", dir="/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def single(**options):
    """One server. `unixsocket=True` lets it listen on a socket file too: its `socket`."""
    with folder() as directory:
        socket = directory / "socket" if options.pop("unixsocket", False) else None
        if socket is not None:
            options |= {"unixsocket": socket, "unixsocketperm": 700}
        server = RedisServer(directory, **options)
        server.socket = socket
        with server:
            yield server


# TLS and an ACL

ADMIN, STORE = "the-admins-password", "the-stores-password"
COMMANDS = (
    *("get", "mget", "exists", "set", "del", "evalsha", "eval", "getrange", "scan", "info", "time"),
    *("zrange", "zmscore", "zscore", "zadd", "zrem", "pexpire", "persist"),
)
"""What the store needs, and nothing else."""


class Certificates:
    """An authority, a certificate of the server, and one of a client."""

    def __init__(self, directory):
        self.directory = Path(directory)
        ca = trustme.CA()
        soon = dt.datetime.now(dt.UTC) + dt.timedelta(days=2)
        issued = {
            "server": ca.issue_cert(HOST, "localhost", not_after=soon),
            "client": ca.issue_cert("coatcheck@shop.example", not_after=soon),
        }
        ca.cert_pem.write_to_path(str(self.ca))
        for name, certificate in issued.items():
            certificate.private_key_pem.write_to_path(str(self.key(name)))
            chain, *more = certificate.cert_chain_pems
            chain.write_to_path(str(self.certificate(name)))
            for link in more:
                link.write_to_path(str(self.certificate(name)), append=True)

    @property
    def ca(self):
        return self.directory / "ca.pem"

    def key(self, name):
        return self.directory / f"{name}.key"

    def certificate(self, name):
        return self.directory / f"{name}.pem"

    def options(self, port):
        """What a server needs."""
        return {
            "tls_port": port,
            "tls_cert_file": self.certificate("server"),
            "tls_key_file": self.key("server"),
            "tls_ca_cert_file": self.ca,
            "tls_auth_clients": "yes",
        }

    @property
    def client_options(self):
        """What a client of redis-py needs."""
        return {
            "ssl": True,
            "ssl_ca_certs": str(self.ca),
            "ssl_certfile": str(self.certificate("client")),
            "ssl_keyfile": str(self.key("client")),
        }


@contextmanager
def tls_acl(*, prefix="coatcheck:", commands=COMMANDS):
    """One server that asks each client for a certificate and a password, and allows the store what it needs.

    The store's user may run `commands` on keys that begin with `prefix`, and nothing else.
    """
    with folder() as directory:
        acl = directory / "users.acl"
        allowed = " ".join(f"+{command}" for command in commands)
        acl.write_text(
            "user default off\n"
            f"user admin on >{ADMIN} ~* &* +@all\n"
            f"user store on >{STORE} resetchannels ~{prefix}* -@all {allowed}\n"
        )
        with RedisServer(directory, tls=Certificates(directory), aclfile=acl) as server:
            yield TlsServer(server)


class TlsServer:
    def __init__(self, server):
        self.server = server
        self.url = f"rediss://store:{STORE}@{server.address}/0"
        certificates = server.tls
        self.options = {  # what a store takes beside the URL
            "tls_ca": str(certificates.ca),
            "tls_cert": str(certificates.certificate("client")),
            "tls_key": str(certificates.key("client")),
            "max_connections": 4,  # each shakes hands first, which takes long
        }

    def ask(self, *command):
        return self.server.ask(*command)

    def client(self):
        return self.server.client()
