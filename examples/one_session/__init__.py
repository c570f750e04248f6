"""One site of six applications, each in another framework, on one session: `python -m examples.one_session`."""
