"""hug, imported without its warnings and its event loop: it is of 2020, and sets uvloop's policy for the whole process."""

import asyncio
import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "'cgi' is deprecated", DeprecationWarning)
    warnings.filterwarnings("ignore", "The distutils package is deprecated", DeprecationWarning)
    warnings.filterwarnings("ignore", "invalid escape sequence", DeprecationWarning)
    warnings.filterwarnings("ignore", '"is" with a literal', SyntaxWarning)
    import hug
    from hug.store import InMemoryStore

asyncio.set_event_loop_policy(None)  # each test says which loop it runs on

__all__ = ["InMemoryStore", "hug"]
