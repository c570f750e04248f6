"""Redis under Sentinel: three servers, and three who watch over them."""

from contextlib import ExitStack, contextmanager

import redis

from tests.servers.process import HOST, until
from tests.servers.redis import CALM, HASTY, NEVER, RedisServer, folder

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
