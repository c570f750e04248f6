"""The session tests that frameworks have themselves, run from their published packages against ours.

`sources` fetches the packages. `suites` says which tests are run, and how ours is put in: by a plugin of pytest, or by
Django's settings. The ``.toml`` beside them names each test that does not apply, with the reason, and `page` shows it all.
`python -m tests.conformance` runs each suite with both kinds of sessions, and writes that page.
"""
