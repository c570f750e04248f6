"""Redis in each of its shapes: one server, behind TLS and an ACL, under Sentinel, as a cluster.

Each is a context manager, with the URLs that a store is made of, on free ports, in a folder that goes with it. What
watches over other servers is calm at first, so that a busy machine is not taken for a dead server; `hasty` lets it
look as closely as the tests of a failover want.
"""

import datetime as dt
import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis
import trustme
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers.process import HOST, Server, free_port, until

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
        return redis.Redis(**given | options)

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
    *("get", "mget", "exists", "set", "del", "evalsha", "eval", "getrange", "scan", "ping"),
    *("zrange", "zadd", "zscore", "zrem", "zremrangebyscore", "pttl", "pexpire"),
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


# Sentinel

SERVICE = "sessions"


class Sentinels:
    """Three servers, one of them the primary, and three sentinels that watch over them."""

    def __init__(self, directory):
        self.servers = [RedisServer(directory) for _ in range(3)]
        self.sentinels = [_Sentinel(directory) for _ in range(3)]
        addresses = ",".join(sentinel.address for sentinel in self.sentinels)
        self.url = f"redis+sentinel://{addresses}/{SERVICE}/0"

    def start(self, stack):
        primary, *replicas = self.servers
        for server in self.servers:
            stack.enter_context(server)
        for replica in replicas:
            replica.ask("REPLICAOF", HOST, primary.port)
        for sentinel in self.sentinels:
            sentinel.watch(primary)
            stack.enter_context(sentinel)
        self.whole()

    def _replicated(self):
        return self.primary.told("replication")["connected_slaves"] == 2 and all(
            server.told("replication")["master_link_status"] == "up" for server in self.replicas
        )

    @property
    def primary(self):
        """The server that is the primary, by its own word and that of every sentinel."""
        (port,) = {sentinel.primary_port for sentinel in self.sentinels}
        (server,) = (server for server in self.servers if server.port == port)
        if server.told("replication")["role"] != "master":
            raise LookupError("it does not know yet")
        return server

    @property
    def replicas(self):
        primary = self.primary
        return [server for server in self.servers if server is not primary and server.runs]

    def whole(self):
        """Wait until everybody runs, and everybody knows it."""
        for sentinel in self.sentinels:
            if not sentinel.runs:
                sentinel.start()
        # A server that came back before its successor is known by all would be taken for the primary again.
        until(lambda: self.primary, "there is one primary", patience=60)
        for server in self.servers:
            if not server.runs:
                server.start()
                server.ask("REPLICAOF", HOST, self.primary.port)
        until(lambda: all(sentinel.sees_all() for sentinel in self.sentinels), "all is whole", patience=60)
        until(self._replicated, "the replicas follow", patience=60)
        self._watch(CALM)

    @contextmanager
    def hasty(self):
        """Let the sentinels look closely; at the end, all is made whole."""
        self._watch(HASTY)
        try:
            yield
        finally:
            self.whole()

    def _watch(self, milliseconds):
        for sentinel in self.sentinels:
            sentinel.ask("SENTINEL", "SET", SERVICE, "down-after-milliseconds", milliseconds)

    def ask(self, *command):
        return self.primary.ask(*command)

    def client(self):
        """A client of the server that is the primary now."""
        return self.primary.client()


class _Sentinel(RedisServer):
    def __init__(self, directory):
        super().__init__(directory)
        self.name = f"sentinel-{self.port}"
        self.config = self.directory / "sentinel.conf"
        self._log = self.directory / "sentinel.out"

    def watch(self, primary):
        lines = (
            f"port {self.port}",
            f"bind {HOST}",
            f"dir {self.directory}",
            f"sentinel monitor {SERVICE} {HOST} {primary.port} 2",
            f"sentinel down-after-milliseconds {SERVICE} {CALM}",
            f"sentinel failover-timeout {SERVICE} 4000",
            f"sentinel parallel-syncs {SERVICE} 2",
        )
        self.config.write_text("\n".join(lines) + "\n")
        self.command = ["redis-server", str(self.config), "--sentinel"]

    @property
    def primary_port(self):
        return int(self._pairs(self.ask("SENTINEL", "MASTER", SERVICE))["port"])

    def sees_all(self):
        known = self._pairs(self.ask("SENTINEL", "MASTER", SERVICE))
        replicas = [self._pairs(replica) for replica in self.ask("SENTINEL", "REPLICAS", SERVICE)]
        return (
            known["flags"] == "master"
            and int(known["num-other-sentinels"]) == 2
            and len(replicas) == 2
            and all(replica["flags"] == "slave" for replica in replicas)
        )

    @staticmethod
    def _pairs(answer):
        items = answer.items() if isinstance(answer, dict) else zip(answer[::2], answer[1::2], strict=True)
        as_text = lambda value: value.decode() if isinstance(value, bytes) else str(value)
        return {as_text(name): as_text(value) for name, value in items}

    def ask(self, *command):
        # A plain connection: a client would make its own sense of what a sentinel says.
        with redis.Redis(host=HOST, port=self.port, socket_timeout=10, retry=NEVER) as client:
            client.response_callbacks.clear()
            return client.execute_command(*command)


@contextmanager
def sentinels():
    """Three servers and three sentinels, ready for a failover."""
    with folder() as directory, ExitStack() as stack:
        those = Sentinels(directory)
        those.start(stack)
        yield those


# Cluster

SLOTS = 16_384


class Cluster:
    """Three primaries with a replica each."""

    def __init__(self, directory):
        self.nodes = [
            RedisServer(
                directory,
                cluster_enabled="yes",
                cluster_config_file="nodes.conf",
                cluster_node_timeout=HASTY,  # a node waits so long before it joins; `whole` calms it
                cluster_replica_validity_factor=0,
                repl_diskless_load="swapdb",
            )
            for _ in range(6)
        ]
        self.url = "redis+cluster://" + ",".join(node.address for node in self.nodes[:3])

    def start(self, stack):
        for node in self.nodes:
            stack.enter_context(node)
        primaries, replicas = self.nodes[:3], self.nodes[3:]
        for number, node in enumerate(self.nodes):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        bounds = [SLOTS * number // 3 for number in range(4)]
        for node, first, end in zip(primaries, bounds, bounds[1:], strict=False):
            node.ask("CLUSTER", "ADDSLOTSRANGE", first, end - 1)
        for node in self.nodes[1:]:
            self.nodes[0].ask("CLUSTER", "MEET", HOST, node.port)
        until(lambda: all(len(self._known(node)) == 6 for node in self.nodes), "the nodes have met")
        for primary, replica in zip(primaries, replicas, strict=True):
            identity = primary.ask("CLUSTER", "MYID").decode()
            until(lambda i=identity, r=replica: r.ask("CLUSTER", "REPLICATE", i), "it replicates")
        self.whole()

    @staticmethod
    def _known(node):
        """What a node knows of the others: by port, its flags and slots."""
        with node.client() as client:
            client.response_callbacks.clear()
            lines = client.execute_command("CLUSTER", "NODES").decode().splitlines()
        known = {}
        for line in lines:
            _, address, flags, _, _, _, _, link, *slots = line.split()
            port = int(address.split("@")[0].rpartition(":")[2])
            known[port] = (set(flags.split(",")) - {"myself"}, link, slots)
        return known

    def _sees_all(self, node):
        known = self._known(node)
        primaries = [slots for flags, _, slots in known.values() if flags == {"master"} and slots]
        replicas = [link for flags, link, _ in known.values() if flags == {"slave"}]
        return len(primaries) == len(replicas) == 3 and all(
            link == "connected" for _, link, _ in known.values()
        )

    def _is_well(self, node):
        info = node.told("replication")
        linked = info["role"] == "master" or info["master_link_status"] == "up"
        return linked and b"cluster_state:ok" in node.ask("CLUSTER", "INFO") and self._sees_all(node)

    def whole(self):
        """Wait until everybody runs, and everybody knows it."""
        for node in self.nodes:
            if not node.runs:
                node.start()
        until(lambda: all(self._is_well(node) for node in self.nodes), "the cluster is whole", patience=60)
        self._watch(CALM)

    def client(self):
        """A client of the whole cluster."""
        return redis.RedisCluster(host=HOST, port=self.primaries[0].port, socket_timeout=10)

    @property
    def primaries(self):
        return [node for node in self.nodes if node.runs and node.told("replication")["role"] == "master"]

    def holder(self, key):
        """The primary that holds a key."""
        slot = redis.crc.key_slot(key)
        for node in self.primaries:
            for part in self._known(node)[node.port][2]:
                first, _, last = part.partition("-")
                if not part.startswith("[") and int(first) <= slot <= int(last or first):
                    return node
        raise AssertionError("nobody holds it")

    @contextmanager
    def hasty(self):
        """Let the nodes look closely at each other; at the end, all is made whole."""
        self._watch(HASTY)
        try:
            yield
        finally:
            self.whole()

    def _watch(self, milliseconds):
        for node in self.nodes:
            node.ask("CONFIG", "SET", "cluster-node-timeout", milliseconds)


@contextmanager
def cluster():
    """Six nodes, ready for the death of one."""
    with folder() as directory, ExitStack() as stack:
        those = Cluster(directory)
        those.start(stack)
        yield those
