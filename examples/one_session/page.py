"""The page that each of the six applications shows."""

from html import escape

FRAMEWORKS = ("Django", "Flask", "FastAPI", "Pyramid", "Tornado", "aiohttp")
PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{framework} · One session</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/style.css">
<header><p><a href="/">One session</a></p><nav>{links}</nav></header>
<main>
<h1>{framework}</h1>
{messages}
<dl>
<dt>Signed in</dt><dd id="user">{user}</dd>
<dt>Note</dt><dd id="note">{note}</dd>
<dt>Notes written</dt><dd id="notes">{notes}</dd>
</dl>
<form method="post" action="/{path}/note">
{token}<label>A note for all six <input name="note" required maxlength="80"></label>
<button>Write it in {framework}</button>
</form>
{sign}
</main>
"""
SIGN_IN = """\
<form method="post" action="/{path}/sign-in">
<label>Name <input name="username" value="ada" autocomplete="username"></label>
<label>Password
<input name="password" type="password" value="analytical-engine" autocomplete="current-password"></label>
<button>Sign in at {framework}</button>
</form>"""
SIGN_IN_AT_DJANGO = '<p><a class="button" href="/django/sign-in">Sign in at Django</a></p>'
SIGN_OUT = """\
<form method="post" action="/{path}/sign-out">{token}<button>Sign out in {framework}</button></form>"""


def page(framework, session, messages, *, name=None, token=""):
    """The page.

    Args:
        framework: Whose page it is.
        session: What it shows.
        messages: The messages that waited: texts, or `Flash` objects.
        name: The user's name, where the framework knows more than the id.
        token: A hidden field for the framework's own CSRF check, if it has one.
    """
    path = framework.lower()
    if session.user is not None:
        sign = SIGN_OUT
        user = f"as user {escape(session.user)}" + (f", {escape(name)}" if name else "")
    else:
        sign, user = SIGN_IN if framework != "Django" else SIGN_IN_AT_DJANGO, "no"
    texts = [getattr(message, "message", message) for message in messages]
    return PAGE.format(
        framework=framework,
        path=path,
        token=token,
        links=" ".join(
            f'<a href="/{each.lower()}/"{" aria-current=page" if each == framework else ""}>{each}</a>'
            for each in FRAMEWORKS
        ),
        messages="".join(f'<p class="message">{escape(text)}</p>' for text in texts),
        user=user,
        note=escape(session.get("note", "none yet")),
        notes=session.get("notes", 0),
        sign=sign.format(framework=framework, path=path, token=token),
    )
