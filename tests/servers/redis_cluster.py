"""A cluster of Redis: three primaries with a replica each."""

from contextlib import ExitStack, contextmanager

import redis

from tests.servers.process import HOST, until
from tests.servers.redis import CALM, HASTY, RedisServer, folder

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
