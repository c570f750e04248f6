"""The README's application in Flask. Checked by mypy and pyright, never run."""

import os

from flask import Flask, flash

from coatcheck import Sessions
from coatcheck.frameworks.flask import SessionInterface, session

sessions = Sessions.from_url("sqlite:///sessions.db", secret=os.environ["SESSION_SECRET"])

app = Flask(__name__)
app.session_interface = SessionInterface(sessions)


@app.post("/basket/<item>")
def add(item: str) -> dict[str, list[str]]:
    session.setdefault("basket", []).append(item)
    flash(f"{item} is in your basket.")
    return {"basket": session["basket"]}


@app.post("/sign-in/<name>")
def sign_in(name: str) -> dict[str, int]:
    session.sign_in(name)  # a new secret; the basket stays
    return {"devices": len(sessions.of_user(name, current=session))}


@app.post("/sign-out")
def sign_out() -> str:
    session.sign_out()
    return "Goodbye.\n"
