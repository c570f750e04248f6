"""aiohttp, on its own server: `python -m examples.one_session.aiohttp_app PORT`."""

import sys

from aiohttp import web

from coatcheck import AsyncSessions
from coatcheck.frameworks.aiohttp import get_session, setup
from examples.one_session.page import page
from examples.one_session.settings import SETTINGS, URL, user_of

routes = web.RouteTableDef()


@routes.get("/aiohttp/")
async def home(request):
    session = await get_session(request)
    return web.Response(text=page("aiohttp", session, await session.take_flashes()), content_type="text/html")


@routes.post("/aiohttp/note")
async def note(request):
    session, form = await get_session(request), await request.post()
    session["note"] = form.get("note", "")
    session["notes"] = session.get("notes", 0) + 1
    session.flash("Noted in aiohttp.")
    raise web.HTTPSeeOther("/")


@routes.post("/aiohttp/sign-in")
async def sign_in(request):
    session, form = await get_session(request), await request.post()
    if user := user_of(form.get("username"), form.get("password")):
        session.sign_in(user)
    else:
        session.flash("This name and password are not known.")
    raise web.HTTPSeeOther("/aiohttp/")


@routes.post("/aiohttp/sign-out")
async def sign_out(request):
    (await get_session(request)).sign_out()
    raise web.HTTPSeeOther("/aiohttp/")


def create_app():
    app = web.Application()
    setup(app, AsyncSessions.from_url(URL, **SETTINGS))
    app.add_routes(routes)
    return app


if __name__ == "__main__":
    web.run_app(create_app(), host="127.0.0.1", port=int(sys.argv[1]), print=None)
