"""Lines of code of the framework modules: what is no blank line, comment or docstring."""

import ast
import io
import tokenize
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "src/coatcheck/frameworks"
NO_CODE = (
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    tokenize.ENDMARKER,
)
# What makes a session of a framework, and how long it may be.
ADAPTERS = {
    "wsgi": (200, ["wsgi.py"]),
    "asgi": (200, ["asgi.py"]),
    "flask": (200, ["flask.py"]),
    "starlette": (200, ["starlette.py"]),
    "fastapi": (200, ["fastapi.py"]),
    "django": (350, ["django/__init__.py", "django/engine.py", "django/middleware.py"]),
    "pyramid": (200, ["pyramid.py", "pyramid_session.py"]),
    "tornado": (200, ["tornado.py", "tornado_connection.py"]),
    "aiohttp": (200, ["aiohttp.py", "aiohttp_layer.py"]),
    "hug": (200, ["hug.py"]),
    "litestar": (200, ["litestar.py"]),
    "quart": (200, ["quart.py"]),
}
# What is beside them: parts that several share, and parts that an application takes or leaves.
PARTS = {
    "asgi_lifespan.py": "starting and stopping with the application",
    "asgi_neighbours.py": "other session layers in the same application",
    "bound.py": "a session that knows its manager",
    "environ.py": "the beginning of a WSGI request",
    "streams.py": "streams of WSGI applications",
    "django/admin.py": "the sessions of a user in Django's admin",
    "django/apps.py": "Django's checks",
    "django/auth.py": "users whom another framework signed in to a Django site",
    "django/configuration.py": "Django's settings",
    "django/messages.py": "Django's messages",
    "flask_login.py": "Flask-Login",
    "flask_messages.py": "Flask's and Quart's messages",
    "flask_settings.py": "Flask's settings",
    "pyramid_settings.py": "Pyramid's settings",
    "quart_auth.py": "Quart-Auth",
}


def code_lines(source):
    """How many lines of `source` hold code."""
    lines = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in NO_CODE
        for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(ast.parse(source)):
        for statement in node.body if isinstance(getattr(node, "body", None), list) else ():
            match statement:
                case ast.Expr(value=ast.Constant(value=str())):
                    lines -= set(range(statement.lineno, statement.end_lineno + 1))
    return len(lines)


def lines_of(*patterns):
    """The lines of code of these modules together."""
    return sum(code_lines(path.read_text()) for pattern in patterns for path in FOLDER.glob(pattern))
