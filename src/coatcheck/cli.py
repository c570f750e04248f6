"""The ``coatcheck`` command: ``db``, ``demo``, ``secret``, ``sweep``.

It needs click (``pip install 'coatcheck[cli]'``). ``coatcheck secret`` and ``coatcheck --version`` work without it.
"""

from __future__ import annotations

import random
import re
import secrets
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

from coatcheck import __version__
from coatcheck.addresses import parts_of
from coatcheck.errors import CoatcheckError, ConfigurationError, StoreError
from coatcheck.model.ports import Store
from coatcheck.sessions import Sessions
from coatcheck.urls import StoreOptions, store_from_url

if TYPE_CHECKING:
    import click

__all__ = ["command", "main"]

_P = ParamSpec("_P")
_FAILED, _BAD_USE = 1, 2
_AT_A_TIME = 1000
_MAKE_THEIR_OWN = ("memory", "sqlite")
_SECONDS_A_BATCH = 60.0  # longer than a request's deadline, since no request waits for a sweep
_SECONDS_OF_SILENCE = 5
_SECONDS_TO_ANSWER = 10.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit: 0 success, 1 failure, 2 wrong usage. A Coatcheck error is one line on stderr."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if find_spec("click") is not None:
        command().main(given, prog_name="coatcheck")
    elif given == ["secret"]:
        secret()
    elif given == ["--version"]:
        _print(f"coatcheck {__version__}")
    else:
        extra = "demo" if given[:1] == ["demo"] else "cli"
        _fail(
            f"This command needs click: pip install 'coatcheck[{extra}]'. Without it there are `coatcheck secret` and"
            " `coatcheck --version`.",
            _BAD_USE,
        )


def command() -> click.Group:
    """The command with its subcommands, for click."""
    import click

    group = click.Group("coatcheck", help="The session layer for Python web applications.")
    group = click.version_option(__version__, message="coatcheck %(version)s")(group)
    group.add_command(
        click.Command(
            "demo",
            callback=_plainly(demo),
            help="Serve the demo shop until Ctrl-C. Its secret is COATCHECK_SECRET, or a file that it creates.",
            params=[
                click.Option(
                    ["--port"],
                    type=click.IntRange(0, 65535),
                    default=8000,
                    show_default=True,
                    help="The port it listens on; 0 takes a free one.",
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
    group.add_command(click.Command("secret", callback=secret, help="Print a new secret, and nothing else."))
    group.add_command(
        click.Command(
            "sweep",
            callback=_plainly(sweep),
            help="Remove the expired sessions from a store and print their number.",
            params=[
                click.Option(["--store"], required=True, metavar="URL", help="Where the sessions are kept."),
                click.Option(
                    ["--prefix"],
                    default="coatcheck:",
                    show_default=True,
                    help="The `prefix` setting of the application.",
                ),
                click.Option(
                    ["--every"],
                    metavar="TIME",
                    callback=_seconds,
                    help="Sweep again at this interval (90s, 10m, 1h) until SIGINT or SIGTERM.",
                ),
            ],
        )
    )
    group.add_command(_database())
    return group


def _database() -> click.Group:
    import click

    prefix = click.Option(
        ["--prefix"],
        default="coatcheck:",
        show_default=True,
        help="The `prefix` setting of the application.",
    )
    group = click.Group("db", help="The tables of the sessions in PostgreSQL, MySQL or MariaDB.")
    group.add_command(
        click.Command(
            "create",
            callback=_plainly(db_create),
            help="Create the tables that don't exist. Existing tables are not changed.",
            params=[
                click.Option(["--store"], required=True, metavar="URL", help="Where the sessions are kept."),
                prefix,
            ],
        )
    )
    group.add_command(
        click.Command(
            "ddl",
            callback=_plainly(db_ddl),
            help="Print the statements that create the tables, for the application's own migrations.",
            params=[
                click.Option(
                    ["--dialect"],
                    required=True,
                    type=click.Choice(["postgresql", "mysql", "mariadb", "sqlite"]),
                    help="The database's SQL dialect.",
                ),
                prefix,
            ],
        )
    )
    return group


def demo(*, host: str, port: int, store: str) -> None:
    """Serve the demo shop until SIGINT or SIGTERM."""
    if missing := [name for name in ("a2wsgi", "fastapi", "flask", "uvicorn") if find_spec(name) is None]:
        _fail(f"The demo needs {' and '.join(missing)}: pip install 'coatcheck[demo]'", _BAD_USE)
    from coatcheck.demo.server import serve

    serve(store, host=host, port=port)


def secret() -> None:
    """Print a secret of 256 random bits, for the ``secret=`` of `Sessions`."""
    _print(secrets.token_urlsafe(32))


def sweep(*, store: str, prefix: str, every: float | None = None) -> None:
    """Remove the expired records from a store, and print their number.

    `every` is an interval in seconds at which this repeats until SIGINT or SIGTERM.
    """
    from coatcheck.demo.secret import sqlite_file

    path = sqlite_file(store)
    if path is not None and not path.exists():
        # Opening would create the file, and a mistyped name would look like a store with nothing to sweep.
        raise ConfigurationError(f"The file {path} does not exist.")
    options: StoreOptions = {"secret": secrets.token_urlsafe(32), "prefix": prefix}
    if path is not None and not Path(f"{path.resolve()}-ballast").exists():
        options["ballast"] = 0  # as the application chose
    with closing(Sessions.from_url(store, **options).store) as opened:
        if every is None:
            _print(_removed(_swept(opened)))
            return
        with suppress(KeyboardInterrupt):
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            while True:
                _sweep_again(opened)
                # Random, so that several sweepers that started together don't stay in step.
                time.sleep(every * random.uniform(0.9, 1.1))  # noqa: S311 - not a secret


def _sweep_again(store: Store) -> None:
    began = time.monotonic()
    try:
        removed = _removed(_swept(store))
    except StoreError as error:
        # The store may work again at the next sweep.
        _complain(str(error))
    else:
        _print(f"{removed} in {time.monotonic() - began:.1f} s")


def _swept(store: Store) -> int:
    """Sweep in batches until nothing is left, with progress messages. Returns the number of records.

    Raises:
        StoreError: The store failed, or can't be reached. Memcached has nothing to sweep, and would not notice.
    """
    store.ping(time.monotonic() + _SECONDS_TO_ANSWER)
    swept, told = 0, time.monotonic()
    while True:
        removed = store.sweep(int(time.time() * 1000), _AT_A_TIME, time.monotonic() + _SECONDS_A_BATCH)
        swept += removed
        if removed < _AT_A_TIME:
            return swept
        if time.monotonic() - told >= _SECONDS_OF_SILENCE:
            told = time.monotonic()
            _print(f"{_removed(swept)} so far")


def _removed(number: int) -> str:
    return f"{number} expired {'session' if number == 1 else 'sessions'} removed"


def _seconds(_context: click.Context, _option: click.Parameter, text: str | None) -> float | None:
    """Parse ``90s``, ``10m``, ``1h`` or ``2d`` to seconds."""
    import click

    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    seconds = int(found[1]) * {"s": 1, "m": 60, "h": 3_600, "d": 86_400}[found[2]] if found else 0
    if not seconds:
        raise click.BadParameter(f"{text!r} is not a time: write 90s, 10m, 1h or 2d.")
    return float(seconds)


def db_create(*, store: str, prefix: str) -> None:
    """Create the tables of a store in a database."""
    if parts_of(store).scheme in _MAKE_THEIR_OWN:
        raise ConfigurationError("This store needs no `db create`: it creates what it needs.")
    made = store_from_url(store, {"prefix": prefix})
    with closing(made):
        create: Callable[[], None] | None = getattr(made, "create_tables", None)
        if create is None:
            raise ConfigurationError("This store has no tables.")
        create()
    _print(f"The tables of prefix {prefix} exist.")


def db_ddl(*, dialect: str, prefix: str) -> None:
    """Print the statements that create the tables."""
    try:
        from coatcheck.stores.sql.table import ddl
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"This needs {error.name}: pip install 'coatcheck[sql]'") from error
    sys.stdout.write(ddl(dialect, prefix))


def _plainly(run: Callable[_P, None]) -> Callable[_P, None]:
    """`run`, with each Coatcheck error printed as one line."""

    @wraps(run)
    def plain(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            run(*args, **kwargs)
        except CoatcheckError as error:
            _fail(str(error), _BAD_USE if isinstance(error, ConfigurationError) else _FAILED)
        except ModuleNotFoundError as error:
            if error.name is not None:
                raise
            # Without a name it is raised by Coatcheck: a missing driver, and the extra that installs it.
            _fail(str(error), _BAD_USE)

    return plain


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _complain(message: str) -> None:
    sys.stderr.write(f"coatcheck: {' '.join(message.split())}\n")
    sys.stderr.flush()


def _fail(message: str, code: int) -> None:
    _complain(message)
    raise SystemExit(code)
