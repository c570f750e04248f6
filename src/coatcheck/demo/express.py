"""The express counter: the shop's FastAPI half. Basket, visitor and messages are those of the Flask half."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Unpack, cast

from fastapi import APIRouter, Depends, FastAPI, Form, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import BytecodeCache
from starlette.exceptions import HTTPException
from starlette.responses import Response

from coatcheck import __version__
from coatcheck.config import Options
from coatcheck.demo import basket, orders
from coatcheck.demo.csrf import is_foreign, refusal
from coatcheck.demo.express_costs import Inner, Outer, note
from coatcheck.demo.express_docs import described
from coatcheck.demo.express_pages import Pages
from coatcheck.demo.goods import BESIDE, GOODS
from coatcheck.demo.history import History
from coatcheck.demo.trace import AsyncTracedStore
from coatcheck.demo.wording import FOREIGN, GOODBYE, NAME_WANTED, OUR_FAULT, nothing_here, visitor_name
from coatcheck.frameworks.fastapi import SessionDependency, SessionMiddleware
from coatcheck.frameworks.starlette import StarletteSession
from coatcheck.model.ports import AsyncStore
from coatcheck.sessions import AsyncSessions

__all__ = ["EXPRESS", "create_express"]

EXPRESS = "/express"
"""Where this half of the shop is."""

pages_router: APIRouter = APIRouter(prefix=EXPRESS, tags=["pages"], default_response_class=HTMLResponse)
data_router: APIRouter = APIRouter(prefix=f"{EXPRESS}/api", tags=["data"])

Visitor = Annotated[StarletteSession, Depends(SessionDependency("session"))]
Text = Annotated[str, Form()]


class Refused(Exception):
    """A form that is refused; what to say of it is for the visitor."""

    def __init__(self, title: str, text: str) -> None:
        super().__init__(title)
        self.title = title
        self.text = text


async def own_form(request: Request, session: Visitor, csrf: Text = "") -> StarletteSession:
    """The session, where the form that was posted is the visitor's own."""
    headers = request.headers
    if is_foreign(headers.get("sec-fetch-site"), headers.get("origin"), headers.get("host", "")):
        raise Refused(*FOREIGN)
    refused = refusal(session, csrf)
    if refused is not None:
        raise Refused(*refused)
    return session


Sender = Annotated[StarletteSession, Depends(own_form)]


@dataclass
class OrderLine:
    """So many of a good in one size or colour."""

    good: str
    choice: str
    quantity: int
    price: int


@dataclass
class Order:
    """What is in the visitor's basket. Prices are in whole euros."""

    user: str | None
    lines: list[OrderLine]
    pieces: int
    total: int


@data_router.get("/basket")
async def order(session: Visitor) -> Order:
    """The visitor's basket, as data."""
    lines = [
        OrderLine(line.good.id, line.choice, line.quantity, line.price) for line in basket.lines(session)
    ]
    return Order(session.user, lines, basket.pieces(session), basket.total(session))


@pages_router.get("", name="express.counter")
async def counter(request: Request, session: Visitor) -> HTMLResponse:
    """The rail as a list, and the basket beside it."""
    return await _pages(request).page(
        request,
        "express.html",
        goods=GOODS,
        beside=BESIDE,
        lines=basket.lines(session),
        total=basket.total(session),
        most=basket.MOST,
    )


@pages_router.get("/docs", name="express.docs", include_in_schema=False)
async def docs(request: Request, _session: Visitor) -> HTMLResponse:
    """What this counter offers to programs."""
    app: FastAPI = request.app
    return await _pages(request).page(request, "docs.html", calls=described(app.openapi()))


@pages_router.post("/basket/add", name="express.add")
async def add(session: Sender, good: Text = "", choice: Text = "") -> RedirectResponse:
    """One more of something."""
    taken, said = orders.take(session, good, choice)
    await _say(session, said, beside=taken.id)
    return RedirectResponse(f"{EXPRESS}#{taken.id}", HTTPStatus.SEE_OTHER)


@pages_router.post("/basket/change", name="express.change")
async def change(
    session: Sender, good: Text = "", choice: Text = "", quantity: Text = "", remove: Text = ""
) -> RedirectResponse:
    """So many of something; with "remove", none."""
    return await _done(session, orders.change(session, good, choice, quantity, remove=bool(remove)))


@pages_router.get("/sign-in", name="express.sign_in_page")
async def sign_in_page(request: Request, session: Visitor) -> HTMLResponse:
    """Where a visitor says his name."""
    ended = session.is_new and session.sessions.settings.template.name in request.cookies
    return await _pages(request).page(request, "sign_in.html", ended=ended)


@pages_router.post("/sign-in", name="express.sign_in")
async def sign_in(request: Request, session: Sender, name: Text = "", remember: Text = "") -> Response:
    """Sign in under a name; what was in the basket stays there."""
    user = visitor_name(name)
    if user is None:
        status = HTTPStatus.UNPROCESSABLE_ENTITY
        return await _pages(request).page(request, "sign_in.html", status, problem=NAME_WANTED)
    session.sign_in(user)
    session.permanent = bool(remember)
    return await _done(session, f"Welcome, {user}.")


@pages_router.post("/sign-out", name="express.sign_out")
async def sign_out(request: Request, session: Sender) -> RedirectResponse:
    """End the session. The goodbye, and the theme as it was, go to a fresh one."""
    handle = session.handle
    if handle is None or session.user is None:
        return RedirectResponse(EXPRESS, HTTPStatus.SEE_OTHER)
    history: History = request.app.state.history
    history.forget(handle)
    theme = session.get("theme")
    session.sign_out()
    if theme is not None:
        session["theme"] = theme
    return await _done(session, GOODBYE)


def create_express(
    store: AsyncStore,
    history: History,
    url_of: Callable[..., str],
    *,
    compiled: BytecodeCache | None = None,
    **options: Unpack[Options],
) -> FastAPI:
    """The express counter, keeping its sessions in `store`, which is closed when the server shuts down.

    Args:
        store: Where the sessions are: those of the Flask half.
        history: Where it is noted what each request came to.
        url_of: The address of a page of the Flask half.
        compiled: Where the templates are kept compiled.
        options: The fields of `Settings`: those of the Flask half.

    Raises:
        ConfigurationError: The settings, or the settings and the store, don't go together.
    """
    sessions = AsyncSessions(AsyncTracedStore(store, note), **options)
    app = FastAPI(
        title="Coatcheck: the express counter",
        version=__version__,
        docs_url=None,  # FastAPI's own page has its script from elsewhere
        openapi_url=f"{EXPRESS}/openapi.json",
        redoc_url=None,
    )

    def url_for(endpoint: str, **values: str) -> str:
        if endpoint.startswith("express."):
            return str(app.url_path_for(endpoint))
        return url_of(endpoint, **values)

    pages = Pages(url_for, compiled=compiled)
    app.state.pages, app.state.history = pages, history
    app.include_router(pages_router)
    app.include_router(data_router)
    app.add_middleware(Inner)
    app.add_middleware(SessionMiddleware, sessions=sessions, load="on_demand")
    app.add_middleware(Outer, pages=pages, history=history)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(orders.BadOrder, _bad_order)
    app.add_exception_handler(RequestValidationError, _unreadable)
    app.add_exception_handler(HTTPException, _wrong)
    app.add_exception_handler(Exception, _fault)
    return app


def _pages(request: Request) -> Pages:
    pages: Pages = request.app.state.pages
    return pages


async def _done(session: StarletteSession, said: str) -> RedirectResponse:
    """Back to the counter, with a message."""
    await _say(session, said)
    return RedirectResponse(EXPRESS, HTTPStatus.SEE_OTHER)


async def _say(session: StarletteSession, said: str, *, beside: str = "info") -> None:
    """Leave a message for the next page. It is stored first, so that what can't be stored is not said to be."""
    session.flash(said, beside)
    session.csrf_token()
    await session.save()


async def _refused(request: Request, error: Exception) -> Response:
    refused = cast("Refused", error)
    return await _pages(request).error(request, HTTPStatus.BAD_REQUEST, refused.title, refused.text)


async def _bad_order(request: Request, error: Exception) -> Response:
    status = HTTPStatus.BAD_REQUEST
    return await _pages(request).error(request, status, status.phrase, str(error))


async def _unreadable(request: Request, _error: Exception) -> Response:
    status = HTTPStatus.BAD_REQUEST
    return await _pages(request).error(request, status, status.phrase, "That form can’t be read.")


async def _wrong(request: Request, error: Exception) -> Response:
    wrong = cast("HTTPException", error)
    title, text = wrong.detail, HTTPStatus(wrong.status_code).description
    if wrong.status_code == HTTPStatus.NOT_FOUND:
        title, text = nothing_here("at the express counter")
    response = await _pages(request).error(request, wrong.status_code, title, text)
    response.headers.update(wrong.headers or {})
    return response


async def _fault(request: Request, _error: Exception) -> Response:
    return _pages(request).bare_error(HTTPStatus.INTERNAL_SERVER_ERROR, *OUR_FAULT)
