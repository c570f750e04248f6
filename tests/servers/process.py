"""One server process: started, seen to be ready, paused, killed, restarted, and stopped by its process id."""

import os
import random
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

HOST = "127.0.0.1"
START_PATIENCE = 60  # seconds; a server that takes longer on a busy machine is a broken one
_taken = set()


def free_port(row=1):
    """The first of several free ports in a row. Each port that is 10,000 higher is free, too: a Redis cluster needs it.

    From below the range out of which the kernel takes the ports of clients, so that none of them gets in between;
    each worker of xdist has a part of its own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4
    start = 10_200 + worker * 2_400
    for _ in range(1_000):
        port = random.SystemRandom().randrange(start, start + 2_400)
        ports = range(port, port + row)
        if _taken.isdisjoint(ports) and all(_is_free(each) and _is_free(each + 10_000) for each in ports):
            _taken.update(ports)
            return port
    raise AssertionError("there is no free port")


def _is_free(port):
    with closing(socket.socket()) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError:
            return False
    return True


def until(condition, told, *, patience=START_PATIENCE):
    """Wait until `condition()` is true; an exception counts as not yet."""
    end, last = time.monotonic() + patience, None
    while time.monotonic() < end:
        try:
            if condition():
                return
        except Exception as error:  # noqa: BLE001 - each driver has its own
            last = error
        time.sleep(0.02)
    raise AssertionError(f"{told}: not after {patience} s ({last!r})")


@contextmanager
def silent(host, port=0):
    """A place that answers no attempt to connect, as behind a firewall: its queue is full. Its port."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


class Server:
    """A process of its own, which ends with the test process, whatever becomes of that."""

    def __init__(self, command, *, directory, ready, env=None, name=None):
        """Make it; `start` starts it.

        Args:
            command: Its arguments. It must stay in the foreground.
            directory: Where it runs, and where its output is written.
            ready: Called until it returns something true.
            env: Its environment, if not this one.
            name: What to call it in messages.
        """
        self.command = [str(part) for part in command]
        self.directory = Path(directory)
        self.name = name or Path(self.command[0]).name
        self.process = None
        self._ready = ready
        self._env = env
        self._log = self.directory / f"{self.name}.out"

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def pid(self):
        return self.process.pid

    @property
    def runs(self):
        return self.process is not None and self.process.poll() is None

    def start(self):
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *self.command],
                cwd=self.directory,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            until(self._is_ready, f"{self.name} is ready")
        except BaseException:
            self.stop()
            raise

    def _is_ready(self):
        if not self.runs:
            raise SystemExit(f"{self.name} ended at once: {self.output()[-2000:]}")
        return self._ready()

    def output(self):
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def stop(self, how=signal.SIGTERM):
        """End it, and wait until it has ended."""
        if self.process is None:
            return
        if self.runs:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(how)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def kill(self):
        """End it as a crash does."""
        self.stop(signal.SIGKILL)

    def restart(self, how=signal.SIGTERM):
        self.stop(how)
        self.start()

    def pause(self):
        """It keeps its connections, and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)
