"""Tornado, on its own server: `python -m examples.one_session.tornado_app PORT`."""

import asyncio
import sys

from tornado.web import Application, RequestHandler

from coatcheck import AsyncSessions
from coatcheck.frameworks.tornado import SessionMixin
from examples.one_session.page import page
from examples.one_session.settings import SETTINGS, URL, user_of


class Home(SessionMixin, RequestHandler):
    async def get(self):
        self.write(page("Tornado", self.session, await self.session.take_flashes()))


class Note(SessionMixin, RequestHandler):
    def post(self):
        self.session["note"] = self.get_body_argument("note")
        self.session["notes"] = self.session.get("notes", 0) + 1
        self.session.flash("Noted in Tornado.")
        self.redirect("/", status=303)


class SignIn(SessionMixin, RequestHandler):
    def post(self):
        name, password = self.get_body_argument("username"), self.get_body_argument("password")
        if user := user_of(name, password):
            self.session.sign_in(user)
        else:
            self.session.flash("This name and password are not known.")
        self.redirect("/tornado/", status=303)


class SignOut(SessionMixin, RequestHandler):
    def post(self):
        self.session.sign_out()
        self.redirect("/tornado/", status=303)


async def main(port):
    routes = {"": Home, "note": Note, "sign-in": SignIn, "sign-out": SignOut}
    async with AsyncSessions.from_url(URL, **SETTINGS) as sessions:
        handlers = [(f"/tornado/{path}", handler) for path, handler in routes.items()]
        Application(handlers, sessions=sessions).listen(port, "127.0.0.1")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
