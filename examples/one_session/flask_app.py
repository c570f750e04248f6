"""Flask, under gunicorn."""

from flask import Flask, flash, get_flashed_messages, redirect, request

from coatcheck import Sessions
from coatcheck.frameworks.flask import SessionInterface, session
from examples.one_session.page import page
from examples.one_session.settings import SETTINGS, URL, user_of

app = Flask(__name__)
SessionInterface(Sessions.from_url(URL, **SETTINGS)).init_app(app)


@app.get("/flask/")
def home():
    return page("Flask", session, get_flashed_messages())


@app.post("/flask/note")
def note():
    session["note"] = request.form["note"]
    session["notes"] = session.get("notes", 0) + 1
    flash("Noted in Flask.")
    return redirect("/", 303)


@app.post("/flask/sign-in")
def sign_in():
    if user := user_of(request.form.get("username"), request.form.get("password")):
        session.sign_in(user)
    else:
        flash("This name and password are not known.")
    return redirect("/flask/", 303)


@app.post("/flask/sign-out")
def sign_out():
    session.sign_out()
    return redirect("/flask/", 303)
