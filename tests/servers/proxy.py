"""A TCP proxy that counts, and that does what networks do: delay, fall silent, cut, slice, refuse.

It runs in a thread of its own. What it does can be changed at any time, from any thread, and counts from then on, for
connections that stand as well::

    with Proxy(port) as proxy:
        client = connect(proxy.port)
        proxy.latency = 0.05            # seconds, each way
        proxy.silent = True             # takes everything, passes nothing on
        proxy.slice = 1                 # passes on so many bytes at a time
        proxy.trickle = 0.1             # the replies come a byte at a time, so many seconds after each other
        proxy.cut_reply_after(17)       # the next replies' first 17 bytes, then the end of the connection
        proxy.cut_request_after(17)     # the next requests' first 17 bytes arrive, then a reset
        proxy.drop_replies()            # what is asked arrives, the reply is a reset
        proxy.down(); proxy.up()        # refuses connections, and ends those that stand
        with proxy.counting() as counted: …
        counted.round_trips, counted.connections, counted.sent, counted.received
"""

import asyncio
import socket
import struct
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tests.servers.process import HOST, free_port

_CHUNK = 1 << 16
_PATIENCE = 5  # seconds


@dataclass
class Counted:
    """What went through. A round trip: the client sent something, after it had got something or nothing yet."""

    round_trips: int = 0
    connections: int = 0
    sent: int = 0
    received: int = 0


class Proxy:
    def __init__(self, target, *, host=HOST):
        self.target, self.host, self.port = target, host, free_port()
        self._healthy()
        self.total = Counted()
        self.transcript = None
        self._links = set()
        self._loop = asyncio.new_event_loop()
        self._server = None
        self._thread = threading.Thread(target=self._run, name=f"proxy-{self.port}", daemon=True)

    def _healthy(self):
        self.latency = 0.0
        self.silent = False
        self.slice = None
        self.trickle = 0
        self._cut, self._cut_resets = None, False
        self._cut_request = None

    def __enter__(self):
        self._thread.start()
        self.up()
        return self

    def __exit__(self, *_):
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        pending = asyncio.all_tasks(self._loop)
        for task in pending:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        self._loop.run_until_complete(asyncio.sleep(0.01))  # what was aborted is closed in a later turn

    def _call(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def up(self):
        """Take connections."""
        if self._server is None:
            self._server = self._call(self._listen())

    async def _listen(self):
        return await asyncio.start_server(self._serve, HOST, self.port)

    def down(self):
        """Refuse connections, and reset those that stand."""
        if self._server is not None:
            self._call(self._close())
            self._server = None

    async def _close(self):
        self._server.close()
        self._reset_all()
        await asyncio.sleep(0)

    def reset(self):
        """Reset the connections that stand; new ones are taken."""
        self._call(self._reset())

    async def _reset(self):
        self._reset_all()

    def _reset_all(self):
        for link in list(self._links):
            link.reset()

    def heal(self):
        """Be a plain proxy again."""
        self._healthy()
        self.up()

    def cut_reply_after(self, size):
        """Pass on the first `size` bytes of what comes back from now on, then end that connection in order."""
        self._cut, self._cut_resets = size, False

    def cut_request_after(self, size):
        """Pass on the first `size` bytes of what is asked from now on, then reset that connection, and all later ones."""
        self._cut_request = size

    def drop_replies(self):
        """What is asked arrives, and is done; of the reply nothing comes back but a reset."""
        self._cut, self._cut_resets = 0, True

    @contextmanager
    def counting(self):
        """What goes through while the block runs."""
        before = Counted(**vars(self.total))
        counted = Counted()
        try:
            yield counted
        finally:
            for name, value in vars(self.total).items():
                setattr(counted, name, value - getattr(before, name))

    @contextmanager
    def recording(self):
        """The bytes that go through while the block runs: a list of ("sent" | "received", bytes)."""
        self.transcript = transcript = []
        try:
            yield transcript
        finally:
            self.transcript = None

    async def _serve(self, reader, writer):
        link = _Link(self, reader, writer)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)
            link.close()


class _Link:
    def __init__(self, proxy, reader, writer):
        self.proxy, self.reader, self.writer = proxy, reader, writer
        self.up = None
        self.asked = False
        self.task = asyncio.current_task()
        self.is_cut = self.is_reset = False

    async def run(self):
        proxy = self.proxy
        try:
            there, self.up = await asyncio.open_connection(proxy.host, proxy.target)
        except OSError:
            self.reset()
            return
        proxy.total.connections += 1
        tasks = [
            asyncio.ensure_future(self._pump(self.reader, self.up, self._sent)),
            asyncio.ensure_future(self._pump(there, self.writer, self._received)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self.is_reset:
                self.reset()

    def _sent(self, data):
        total = self.proxy.total
        total.sent += len(data)
        if not self.asked:
            self.asked = True
            total.round_trips += 1
        self._record("sent", data)
        left = self.proxy._cut_request
        if left is not None:
            self.proxy._cut_request = max(0, left - len(data))
            self.is_reset = left <= len(data)
            return data[:left]
        return data

    def _received(self, data):
        self.asked = False
        self.proxy.total.received += len(data)
        self._record("received", data)
        if self.is_reset:
            return b""
        cut = self.proxy._cut
        if cut is None:
            return data
        if len(data) > cut:
            data = data[:cut]
            self.proxy._cut = 0
            self.is_cut = True
        else:
            self.proxy._cut = cut - len(data)
        return data

    def _record(self, way, data):
        if self.proxy.transcript is not None:
            self.proxy.transcript.append((way, bytes(data)))

    async def _pump(self, source, target, note):
        with suppress(ConnectionError):
            while data := await source.read(_CHUNK):
                if self.proxy.latency:
                    await asyncio.sleep(self.proxy.latency)
                while self.proxy.silent:  # noqa: ASYNC110 - any thread may end it, by an assignment
                    await asyncio.sleep(0.01)
                data = note(data)
                trickle = self.proxy.trickle if target is self.writer else 0
                size = 1 if trickle else self.proxy.slice or len(data) or 1
                for start in range(0, len(data), size):
                    target.write(data[start : start + size])
                    await target.drain()
                    if trickle or self.proxy.slice:
                        await asyncio.sleep(trickle)
                if self.is_reset and target is self.up:
                    # A reset now could overtake what was passed on. The server ends the connection when it has it.
                    self.up.write_eof()
                    await asyncio.sleep(_PATIENCE)
                    return
                if self.is_cut:
                    if self.proxy._cut_resets:
                        self.reset()
                    return

    def reset(self):
        """End both connections; the client gets a reset, not an orderly end."""
        raw = self.writer.get_extra_info("socket")
        if raw is not None:
            with suppress(OSError, ValueError):  # closed by the other side meanwhile
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        if self.up is not None:
            self.up.transport.abort()

    def close(self):
        if self.up is not None and self.up.transport.get_write_buffer_size():
            self.up.transport.abort()  # the client has gone; its server may not take the rest before the loop ends
        for writer in (self.writer, self.up):
            if writer is not None:
                with suppress(Exception):
                    writer.close()
