"""Start the six applications and nginx, and stop them at Ctrl-C."""

import argparse
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).parent
HOST = "127.0.0.1"
# Pyramid imports a module that warns of its own end.
PYTHON = (sys.executable, "-W", "ignore::UserWarning:pyramid.asset", "-m")
GUNICORN = (*PYTHON, "gunicorn", "--workers", "2", "--threads", "4", "--log-level", "warning", "--bind")
APPS = "examples.one_session"
COMMANDS = {  # each with its usual server; {} is the port
    "django": (*GUNICORN, "127.0.0.1:{}", "django.core.wsgi:get_wsgi_application()"),
    "flask": (*GUNICORN, "127.0.0.1:{}", f"{APPS}.flask_app:app"),
    "fastapi": (*PYTHON, "uvicorn", "--log-level", "warning", "--port", "{}", f"{APPS}.fastapi_app:app"),
    "pyramid": (*PYTHON, "waitress", "--listen", "127.0.0.1:{}", f"{APPS}.pyramid_app:app"),
    "tornado": (*PYTHON, f"{APPS}.tornado_app", "{}"),
    "aiohttp": (*PYTHON, f"{APPS}.aiohttp_app", "{}"),
}


def main():
    options = arguments()
    for wish in (signal.SIGINT, signal.SIGTERM):  # also where a shell has started it in the background
        signal.signal(wish, signal.default_int_handler)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="one-session-")))
        ports = dict(zip(("port", *COMMANDS), chosen_ports(options.port), strict=True))
        environment = environment_of(folder, options.store)
        if subprocess.run([*PYTHON, f"{APPS}.django_database"], env=environment, check=False).returncode:
            sys.exit("Django's database could not be made: see above.")
        configuration = folder / "nginx.conf"
        configuration.write_text(nginx_configuration(folder, ports))
        servers = {}
        stack.callback(stop, servers)
        for name, command in COMMANDS.items():
            filled = [part.format(ports[name]) for part in command]
            servers[name] = subprocess.Popen(filled, env=environment, start_new_session=True)
        command = [nginx(), "-p", folder, "-e", "stderr", "-c", configuration]
        servers["nginx"] = subprocess.Popen(command, start_new_session=True)
        try:
            for name in COMMANDS:
                wait_for_page(f"http://{HOST}:{ports[name]}/{name}/", name, servers)
            address = f"http://{HOST}:{ports['port']}/"
            wait_for_page(address, "nginx", servers)
            print(f"One session at {address} (Ctrl-C stops it)", flush=True)
            while True:
                stop_if_ended(servers)
                time.sleep(1)
        except KeyboardInterrupt:
            return


def arguments():
    parser = argparse.ArgumentParser(prog="python -m examples.one_session", description=__doc__)
    parser.add_argument("--port", type=int, help="the site's port; the applications take the six after it")
    parser.add_argument(
        "--store", help="where the sessions are kept; default: an SQLite file, gone at the end"
    )
    return parser.parse_args()


def chosen_ports(first):
    """Seven ports: from `first` on, or free ones."""
    wanted = [0] * 7 if first is None else range(first, first + 7)
    with ExitStack() as stack:
        try:
            listeners = [stack.enter_context(socket.create_server((HOST, port))) for port in wanted]
        except (OSError, OverflowError) as error:
            sys.exit(f"A port from {first} to {first + 6} can't be had: {error}")
        return [listener.getsockname()[1] for listener in listeners]


def environment_of(folder, store):
    path = os.pathsep.join(filter(None, (str(HERE.parents[1]), os.environ.get("PYTHONPATH"))))
    return {
        **os.environ,
        "PYTHONPATH": path,
        "SESSION_SECRET": os.environ.get("SESSION_SECRET") or secrets.token_urlsafe(32),
        "SESSION_STORE": store or f"sqlite:///{folder}/sessions.db",
        "DJANGO_DATABASE": f"{folder}/django.db",
        "DJANGO_SETTINGS_MODULE": f"{APPS}.django_settings",
    }


def nginx():
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    return shutil.which("nginx", path=path) or sys.exit("nginx is missing: apt-get install nginx-light")


def nginx_configuration(folder, ports):
    text = (HERE / "nginx.conf").read_text()
    for name, value in {"folder": folder, "static": HERE / "static", **ports}.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def wait_for_page(url, name, servers):
    """Wait until a server answers with its page. An open port is not enough: gunicorn opens it before its workers."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        stop_if_ended(servers)
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except urllib.error.HTTPError as error:
            sys.exit(f"{name} answers {error.code}, for the reason above.")
        except OSError:
            time.sleep(0.1)
        else:
            return
    sys.exit(f"{name} does not answer.")


def stop_if_ended(servers):
    """Exit if one of the servers has ended."""
    ended = [name for name, server in servers.items() if server.poll() is not None]
    if ended:
        sys.exit(f"Ended, for the reason above: {', '.join(ended)}")


def stop(servers):
    """End the servers by their process ids, nginx first."""
    for server in reversed(servers.values()):
        server.terminate()
    for server in servers.values():
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


if __name__ == "__main__":
    main()
