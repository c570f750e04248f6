"""The ``coatcheck`` command: ``demo``, ``secret``, ``sweep``.

It needs click (``pip install 'coatcheck[demo]'``), but for ``coatcheck secret`` and ``coatcheck --version``, which
every installation has.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from importlib.util import find_spec
from typing import TYPE_CHECKING, ParamSpec

from coatcheck import __version__
from coatcheck.errors import CoatcheckError, ConfigurationError
from coatcheck.sessions import Sessions

if TYPE_CHECKING:
    import click

__all__ = ["command", "main"]

_P = ParamSpec("_P")
_FAILED, _BAD_USE = 1, 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command, and exit: 0 done, 1 failed, 2 used wrongly. An error of ours is one line on stderr."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if find_spec("click") is not None:
        command().main(given, prog_name="coatcheck")
    elif given == ["secret"]:
        secret()
    elif given == ["--version"]:
        _print(f"coatcheck {__version__}")
    else:
        _fail("This command needs click: pip install 'coatcheck[demo]'", _BAD_USE)


def command() -> click.Group:
    """The command with its subcommands, as click has it."""
    import click

    group = click.Group("coatcheck", help="The session layer for Python web applications.")
    group = click.version_option(__version__, message="coatcheck %(version)s")(group)
    group.add_command(
        click.Command(
            "demo",
            callback=_plainly(demo),
            help="Open the demo shop, until Ctrl-C. Its secret is COATCHECK_SECRET, or else kept in a file.",
            params=[
                click.Option(
                    ["--port"],
                    type=click.IntRange(0, 65535),
                    default=8000,
                    show_default=True,
                    help="Where it listens; 0 takes a free one.",
                ),
                click.Option(
                    ["--host"], default="127.0.0.1", show_default=True, help="The address it listens on."
                ),
                click.Option(
                    ["--store"],
                    default="sqlite:///coatcheck-demo.db",
                    show_default=True,
                    metavar="URL",
                    help="Where the sessions are kept.",
                ),
            ],
        )
    )
    group.add_command(click.Command("secret", callback=secret, help="Print a good secret, and nothing else."))
    group.add_command(
        click.Command(
            "sweep",
            callback=_plainly(sweep),
            help="Remove the expired sessions from a store, and say how many they were.",
            params=[
                click.Option(["--store"], required=True, metavar="URL", help="Where the sessions are kept."),
                click.Option(
                    ["--prefix"],
                    default="coatcheck:",
                    show_default=True,
                    help="The `prefix` setting of the application.",
                ),
            ],
        )
    )
    return group


def demo(*, host: str, port: int, store: str) -> None:
    """Serve the demo shop until it is told to stop (SIGINT, SIGTERM)."""
    if missing := [name for name in ("a2wsgi", "fastapi", "flask", "uvicorn") if find_spec(name) is None]:
        _fail(f"The demo needs {' and '.join(missing)}: pip install 'coatcheck[demo]'", _BAD_USE)
    from coatcheck.demo.server import serve

    serve(store, host=host, port=port)


def secret() -> None:
    """Print a secret of 256 random bits: what `Sessions` takes as ``secret=``."""
    _print(secrets.token_urlsafe(32))


def sweep(*, store: str, prefix: str) -> None:
    """Remove what has expired from a store that is there, and print how many records it was."""
    from coatcheck.demo.secret import sqlite_file

    path = sqlite_file(store)
    if path is not None and not path.exists():
        # Opening it would make it, so that a mistyped name would look like a store with nothing to sweep.
        raise ConfigurationError(f"There is no file {path}.")
    with Sessions.from_url(store, secret=secrets.token_urlsafe(32), prefix=prefix) as sessions:
        swept = sessions.sweep()
    _print(f"{swept} expired {'session' if swept == 1 else 'sessions'} removed")


def _plainly(run: Callable[_P, None]) -> Callable[_P, None]:
    """`run`, with what Coatcheck raises told in one line."""

    @wraps(run)
    def plain(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            run(*args, **kwargs)
        except CoatcheckError as error:
            _fail(str(error), _BAD_USE if isinstance(error, ConfigurationError) else _FAILED)
        except ModuleNotFoundError as error:
            if error.name is not None:
                raise
            # Ours: a store whose driver is missing, with the extra that brings it.
            _fail(str(error), _BAD_USE)

    return plain


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _fail(message: str, code: int) -> None:
    sys.stderr.write(f"coatcheck: {' '.join(message.split())}\n")
    raise SystemExit(code)
