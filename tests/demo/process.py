"""The real demo, as a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

COMMAND = (sys.executable, "-m", "coatcheck")


def run(*arguments, folder=None, **environment):
    """Run the command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Demo:
    """A running `coatcheck demo`."""

    def __init__(self, folder, *arguments, port=0, wait=True, **environment):
        self.process = subprocess.Popen(
            [*COMMAND, "demo", "--port", str(port), *arguments],
            cwd=folder,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.welcome = self.url = None
        if wait:
            self.wait()

    def wait(self):
        """Read the line that says where it is."""
        self.welcome = self.process.stdout.readline()
        found = re.search(r"http://\S+", self.welcome)
        if found is None:
            raise RuntimeError(f"the demo did not start: {self.process.communicate(timeout=30)[1]}")
        self.url = found[0]

    def stop(self, number=signal.SIGTERM):
        """Ask it to stop; its exit code, and what it said after its first line."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            out, err = self.process.communicate(timeout=30)
        except ValueError:  # it was read to the end before
            out = err = ""
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        return self.process.returncode, out + err
