"""WebOb and Pyramid, imported past the deprecated modules of Python that they import."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.simplefilter("ignore", UserWarning)
    from pyramid.config import Configurator
    from pyramid.httpexceptions import HTTPNotFound as PyramidNotFound
    from pyramid.interfaces import ISession
    from pyramid.response import Response as PyramidResponse
    from pyramid.testing import DummyRequest
    from webob import Request, Response
    from webob.exc import HTTPNotFound

__all__ = [
    "Configurator",
    "DummyRequest",
    "HTTPNotFound",
    "ISession",
    "PyramidNotFound",
    "PyramidResponse",
    "Request",
    "Response",
]
