"""The three sites at the beginning of the documentation count visits, each as its reader would run it."""

import importlib
import re
import subprocess
import sys

from fastapi.testclient import TestClient

from tests.docs.pages import DOCS, environment

FILES = dict(
    re.findall(r"```python\n# (\S+\.py)[^\n]*\n(.*?)```", (DOCS / "index.md").read_text(), re.DOTALL)
)


def test_the_first_example_counts_in_flask(empty_folder):
    (empty_folder / "app.py").write_text(FILES["app.py"])
    made = importlib.import_module("app")
    client = made.app.test_client()
    assert [client.get("/").text for _ in range(2)] == ["Visit number 1\n", "Visit number 2\n"]
    made.sessions.shutdown()


def test_the_first_example_counts_in_fastapi(empty_folder):
    (empty_folder / "api.py").write_text(FILES["api.py"])
    with TestClient(importlib.import_module("api").app) as client:
        assert [client.get("/").json() for _ in range(2)] == ["Visit number 1", "Visit number 2"]


COUNT = """
from django.test import Client

client = Client()
print(*[client.get("/").text.strip() for _ in range(2)], sep="\\n")
"""


def test_the_first_example_counts_in_django(empty_folder):
    def run(*command, **more):
        ran = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, check=False, env=environment(), **more
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    run("-m", "django", "startproject", "shop", ".")
    with (empty_folder / "shop/settings.py").open("a") as settings:
        settings.write(FILES["shop/settings.py"])
        settings.write('ALLOWED_HOSTS = ["testserver"]\n')  # which `runserver` would not ask for
    (empty_folder / "shop/urls.py").write_text(FILES["shop/urls.py"])
    assert "no issues" in run("manage.py", "check")
    said = run("manage.py", "shell", "-c", COUNT)
    assert said.splitlines()[-2:] == ["Visit number 1", "Visit number 2"]
