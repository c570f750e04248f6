"""Pyramid, under waitress."""

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPSeeOther
from pyramid.response import Response

from coatcheck import Sessions
from examples.one_session.page import page
from examples.one_session.settings import SETTINGS, URL, user_of


def home(request):
    return Response(page("Pyramid", request.session, request.session.take_flashes()))


def note(request):
    request.session["note"] = request.POST.get("note", "")
    request.session["notes"] = request.session.get("notes", 0) + 1
    request.session.flash("Noted in Pyramid.")
    return HTTPSeeOther("/")


def sign_in(request):
    if user := user_of(request.POST.get("username"), request.POST.get("password")):
        request.session.sign_in(user)
    else:
        request.session.flash("This name and password are not known.")
    return HTTPSeeOther("/pyramid/")


def sign_out(request):
    request.session.sign_out()
    return HTTPSeeOther("/pyramid/")


with Configurator(settings={"coatcheck.sessions": Sessions.from_url(URL, **SETTINGS)}) as config:
    config.include("coatcheck.frameworks.pyramid")
    for path, view, method in (
        ("", home, "GET"),
        ("note", note, "POST"),
        ("sign-in", sign_in, "POST"),
        ("sign-out", sign_out, "POST"),
    ):
        config.add_route(view.__name__, f"/pyramid/{path}")
        config.add_view(view, route_name=view.__name__, request_method=method)
    app = config.make_wsgi_app()
