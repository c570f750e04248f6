"""The table of versions in docs/reference/versions.md, from the locks. `python -m tests.docs.versions` writes it."""

import re

from tests.docs.pages import DOCS, ROOT

PAGE = DOCS / "reference" / "versions.md"
PARTS = {
    "Frameworks": (
        "aiohttp bottle django falcon fastapi flask gradio hug litestar pyramid python-fasthtml quart sanic starlette"
        " tornado"
    ),
    "Libraries beside them": (
        "django-allauth django-ninja djangorestframework channels flask-admin flask-appbuilder flask-login quart-auth"
        " sqladmin starlette-admin authlib"
    ),
    "Servers": "granian gunicorn hypercorn uvicorn waitress",
    "Drivers of stores": "aiomysql psycopg pymemcache pymysql redis sqlalchemy",
    "The core": "Python cryptography msgspec",
}
_NOT_OF_HUG = {"falcon"}  # hug pins an old Falcon, which is not tested by itself
_BEGIN, _END = "<!-- from the locks -->\n\n", "\n<!-- to here -->\n"


def tested():
    """The versions of each package that the locks pin, the oldest first; and those of the lock of lowest versions."""
    found, lowest = {}, {}
    for lock in sorted((ROOT / "requirements").glob("*.lock")):
        for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", lock.read_text(), re.MULTILINE):
            (lowest if lock.stem == "lowest" else found).setdefault(name, set()).add(version)
    pythons = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    found["Python"] = set(pythons)
    return found, lowest


def table():
    found, lowest = tested()
    lines = ["| | lowest tested | newest tested |", "|---|---|---|"]
    for part, names in PARTS.items():
        lines.append(f"| **{part}** | | |")
        for name in names.split():
            newest = sorted(found.get(name, lowest.get(name, ())), key=_parts)
            oldest = newest[-1:] if name in _NOT_OF_HUG else sorted(lowest.get(name, newest), key=_parts)
            if newest:
                lines.append(f"| {name} | {oldest[0]} | {newest[-1]} |")
    return "\n".join(lines) + "\n"


def _parts(version):
    return [int(number) for number in re.findall(r"\d+", version)]


def told():
    return PAGE.read_text().partition(_BEGIN)[2].partition(_END)[0]


if __name__ == "__main__":
    head, _, rest = PAGE.read_text().partition(_BEGIN)
    PAGE.write_text(head + _BEGIN + table() + _END + rest.partition(_END)[2])
