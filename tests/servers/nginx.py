"""A real nginx, with the `server` blocks that a test gives it."""

import os
import shutil
import socket

from tests.servers.process import HOST, Server

CONFIGURATION = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/temporary;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{servers}
}}
"""


def listens(port):
    with socket.create_connection((HOST, port), 5):
        return True


def nginx(folder, servers, ports):
    """One that keeps its files in `folder`, and is ready when it listens on all of `ports`."""
    command = shutil.which("nginx", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))
    assert command, "nginx is missing: scripts/install-system servers"
    configuration = folder / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(folder=folder, servers=servers))
    return Server(
        [command, "-p", folder, "-e", "stderr", "-c", configuration],
        directory=folder,
        ready=lambda: all(listens(port) for port in ports),
        name="nginx",
    )
