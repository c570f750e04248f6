"""Small Pyramid applications, and Pyramid imported past the deprecated modules of Python that it imports."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.simplefilter("ignore", UserWarning)
    from pyramid import httpexceptions
    from pyramid.authentication import SessionAuthenticationHelper
    from pyramid.config import Configurator
    from pyramid.csrf import SessionCSRFStoragePolicy, check_csrf_token, get_csrf_token, new_csrf_token
    from pyramid.events import NewResponse
    from pyramid.interfaces import IResponse, ISession
    from pyramid.request import Request
    from pyramid.response import FileIter, FileResponse, Response
    from pyramid.scripting import prepare
    from pyramid.testing import DummyRequest
    from pyramid.wsgi import wsgiapp

__all__ = [
    "Configurator",
    "DummyRequest",
    "FileIter",
    "FileResponse",
    "IResponse",
    "ISession",
    "NewResponse",
    "Request",
    "Response",
    "SessionAuthenticationHelper",
    "SessionCSRFStoragePolicy",
    "Site",
    "app_of",
    "check_csrf_token",
    "configured",
    "get_csrf_token",
    "httpexceptions",
    "new_csrf_token",
    "prepare",
    "wsgiapp",
]

INCLUDE = "coatcheck.frameworks.pyramid"


def configured(sessions, **settings):
    """A configurator with our sessions."""
    config = Configurator(settings={"coatcheck.sessions": sessions, **settings})
    config.include(INCLUDE)
    return config


def app_of(config, **views):
    """The application with a view at the path of each name; what a view returns but a response is its text."""
    for name, view in views.items():

        def answer(request, view=view):
            result = view(request)
            return result if IResponse.providedBy(result) else Response(str(result))

        config.add_route(name, f"/{name}")
        config.add_view(answer, route_name=name)
    return config.make_wsgi_app()


class Site:
    """A visitor with a jar of cookies, to an application of one view that each request chooses."""

    def __init__(self, sessions, cookies=(), **settings):
        self.sessions = sessions
        self.cookies = dict(cookies)
        self.config = configured(sessions, **settings)
        self._app = None

    @property
    def app(self):
        if self._app is None:
            self._app = app_of(self.config, play=lambda request: request.environ["the view"](request))
        return self._app

    def get(self, view, query="", *, request=None, **environ):
        """The response of `view` to a request with the visitor's cookies."""
        if request is None:
            request = Request.blank("/", base_url="https://localhost", environ=environ, cookies=self.cookies)
        request.path_info, request.query_string = "/play", query.removeprefix("?")
        request.environ["the view"] = view
        response = request.get_response(self.app)
        for line in response.headers.getall("Set-Cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
            if "Max-Age=0" in line:
                del self.cookies[name]
        return response
