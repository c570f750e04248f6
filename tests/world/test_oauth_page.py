"""The page of the documentation about OAuth: every block of it runs, against a provider of our own."""

import asyncio

from tests.docs.pages import DOCS, SECRET, parse
from tests.world.provider import CLIENT_ID, CLIENT_SECRET, provider


def test_every_block_of_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")  # the provider speaks plain http
    document = parse(DOCS / "how-to" / "oauth.md")
    with provider() as document.namespace["provider"]:
        for name, value in {
            "SESSION_SECRET": SECRET,
            "OIDC_CLIENT_ID": CLIENT_ID,
            "OIDC_CLIENT_SECRET": CLIENT_SECRET,
            "OIDC_ISSUER": document.namespace["provider"].url,
        }.items():
            monkeypatch.setenv(name, value)
        try:
            for example in document.examples():
                example.evaluate()
        finally:
            document.namespace["flask_sessions"].shutdown()
            asyncio.run(document.namespace["sessions"].shutdown())
