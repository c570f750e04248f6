"""hug, imported without its own warnings: it is of 2020, and compares by `is`, escapes wrongly, and needs cgi."""

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "'cgi' is deprecated", DeprecationWarning)
    warnings.filterwarnings("ignore", "The distutils package is deprecated", DeprecationWarning)
    warnings.filterwarnings("ignore", "invalid escape sequence", DeprecationWarning)
    warnings.filterwarnings("ignore", '"is" with a literal', SyntaxWarning)
    import hug
    from hug.store import InMemoryStore

__all__ = ["InMemoryStore", "hug"]
