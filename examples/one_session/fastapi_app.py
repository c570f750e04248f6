"""FastAPI, under uvicorn."""

from typing import Annotated

from fastapi import FastAPI, Form
from fastapi.responses import HTMLResponse, RedirectResponse

from coatcheck import AsyncSessions
from coatcheck.frameworks.fastapi import CurrentSession, SessionMiddleware
from examples.one_session.page import page
from examples.one_session.settings import SETTINGS, URL, user_of

app = FastAPI()
app.add_middleware(SessionMiddleware, sessions=AsyncSessions.from_url(URL, **SETTINGS), load="on_demand")


@app.get("/fastapi/")
async def home(session: CurrentSession) -> HTMLResponse:
    return HTMLResponse(page("FastAPI", session, await session.take_flashes()))


@app.post("/fastapi/note")
async def write(session: CurrentSession, note: Annotated[str, Form()]) -> RedirectResponse:
    session["note"] = note
    session["notes"] = session.get("notes", 0) + 1
    session.flash("Noted in FastAPI.")
    return RedirectResponse("/", 303)


@app.post("/fastapi/sign-in")
async def sign_in(
    session: CurrentSession, username: Annotated[str, Form()], password: Annotated[str, Form()]
) -> RedirectResponse:
    if user := user_of(username, password):
        session.sign_in(user)
    else:
        session.flash("This name and password are not known.")
    return RedirectResponse("/fastapi/", 303)


@app.post("/fastapi/sign-out")
async def sign_out(session: CurrentSession) -> RedirectResponse:
    session.sign_out()
    return RedirectResponse("/fastapi/", 303)
