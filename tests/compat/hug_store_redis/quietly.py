"""hug, imported without its warnings and its event loop: it is of 2020, and sets uvloop's policy for the whole process."""

import asyncio
import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "'cgi' is deprecated", DeprecationWarning)
    warnings.filterwarnings("ignore", "The distutils package is deprecated", DeprecationWarning)
    for kind in (DeprecationWarning, SyntaxWarning):  # the second one since Python 3.12
        warnings.filterwarnings("ignore", "invalid escape sequence", kind)
    warnings.filterwarnings("ignore", '"is" with', SyntaxWarning)
    import hug
    from falcon.http_status import HTTPStatus
    from hug.store import InMemoryStore

asyncio.set_event_loop_policy(None)  # each test says which loop it runs on

__all__ = ["HTTPStatus", "InMemoryStore", "hug"]
