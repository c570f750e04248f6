"""The session tests that frameworks have themselves, run from their published packages against ours.

`sources` fetches the packages, `suites` says which tests are run and how ours is put in, and the ``.toml`` beside them
names each test that does not pass, with the reason. `python -m tests.conformance` prints the figures.
"""
