"""Flask's forms: who may post them, and what happens after."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, cast

import flask
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response

from coatcheck.demo.csrf import is_foreign, refusal
from coatcheck.demo.wording import FOREIGN
from coatcheck.frameworks.flask import FlaskSession

__all__ = ["BadForm", "form", "say", "visitor"]

_P = ParamSpec("_P")


class BadForm(BadRequest):
    """A form that this visitor was not given, or not by this session."""

    def __init__(self, title: str, description: str) -> None:
        super().__init__(description)
        self.title = title


def visitor() -> FlaskSession:
    """The session of this request, as the type that it is."""
    return cast("FlaskSession", flask.session)


def form(view: Callable[_P, Response]) -> Callable[_P, Response]:
    """A view that a form is posted to: refused before it changes anything unless the form is the visitor's own.

    What it changes is stored before it returns, so that a store that fails is met by our own error page.
    """

    @wraps(view)
    def checked(*args: _P.args, **kwargs: _P.kwargs) -> Response:
        _check()
        response = view(*args, **kwargs)
        visitor().save()
        return response

    return checked


def say(message: str, *, beside: str = "info") -> None:
    """Leave a message for the next page. With the session's first one comes the token for its forms.

    Args:
        message: The message.
        beside: The id of the good that it is about, and beside which the rail shows it.
    """
    flask.flash(message, beside)
    visitor().csrf_token()


def _check() -> None:
    headers = flask.request.headers
    if is_foreign(headers.get("Sec-Fetch-Site"), headers.get("Origin"), flask.request.host):
        raise BadForm(*FOREIGN)
    refused = refusal(visitor(), flask.request.form.get("csrf", ""))
    if refused is not None:
        raise BadForm(*refused)
