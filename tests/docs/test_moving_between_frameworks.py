"""The page on moving between frameworks: its two applications on real servers, behind its lines for nginx."""

import importlib
import re

import httpx
import pytest

from tests.docs.pages import DOCS, parse
from tests.docs.serving import asgi_port, wsgi_port
from tests.servers.nginx import nginx
from tests.servers.process import HOST, free_port

pytestmark = [
    pytest.mark.servers,
    pytest.mark.xdist_group("servers"),
    pytest.mark.filterwarnings("ignore::coatcheck.InsecureTransportWarning"),  # there is no TLS here
]

PAGE = DOCS / "how-to/moving-between-frameworks.md"


def located(text, old, new):
    """The page's lines for nginx, with other ports."""
    (lines,) = re.findall(r"```nginx\n(.*?)```", text, re.DOTALL)
    assert (lines.count(":8000;"), lines.count(":8001;")) == (1, 1)
    return lines.replace(":8000;", f":{old};").replace(":8001;", f":{new};")


def test_the_pages_lines_for_nginx_make_one_site_of_its_two_applications(empty_folder):
    examples = [example for example in parse(PAGE).examples() if example.parsed.startswith("# ")]
    for example in examples:
        example.evaluate()
    old, new = (importlib.import_module(name).app for name in ("old", "new"))
    port = free_port()
    with wsgi_port(old) as old_port, asgi_port(new) as new_port:
        lines = located(PAGE.read_text(), old_port, new_port)
        server = f"server {{ listen {HOST}:{port};\n{lines} }}"
        with nginx(empty_folder, server, [port]), httpx.Client(base_url=f"http://{HOST}:{port}") as client:
            signed_in = client.post("/sign-in")
            assert signed_in.headers["Location"] == "/account/"
            # Secure, so that httpx does not send it on plain http.
            cookie = {"Cookie": signed_in.headers["Set-Cookie"].partition(";")[0]}
            client.post("/basket/scarf", headers=cookie)
            seen = client.get("/account/", headers=cookie).json()
            assert seen == {"user": "7", "basket": ["scarf"], "messages": ["Welcome back."]}
            client.post("/sign-out", headers=cookie)
            assert client.get("/account/", headers=cookie).json()["user"] is None
    importlib.import_module("old").sessions.shutdown()
