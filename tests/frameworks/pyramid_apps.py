"""Small Pyramid applications, and Pyramid imported past the deprecated modules of Python that it imports."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.simplefilter("ignore", UserWarning)
    from pyramid.config import Configurator
    from pyramid.interfaces import ISession
    from pyramid.request import Request
    from pyramid.response import FileResponse, Response
    from pyramid.testing import DummyRequest

__all__ = [
    "Configurator",
    "DummyRequest",
    "FileResponse",
    "ISession",
    "Request",
    "Response",
    "app_of",
    "configured",
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
            return result if isinstance(result, Response) else Response(str(result))

        config.add_route(name, f"/{name}")
        config.add_view(answer, route_name=name)
    return config.make_wsgi_app()
