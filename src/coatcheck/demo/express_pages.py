"""How a page of the express counter is made: in the shop's layout, with what the session says."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import BaseLoader, BytecodeCache, Environment, PackageLoader

from coatcheck import __version__
from coatcheck.demo import basket
from coatcheck.demo.csrf import token_of
from coatcheck.demo.steps import Request as Traced
from coatcheck.demo.wording import COST, LOCKED
from coatcheck.frameworks.starlette import StarletteSession

__all__ = ["Pages"]


class Pages:
    """Makes the pages of the FastAPI half."""

    def __init__(self, url_for: Callable[..., str], *, compiled: BytecodeCache | None = None) -> None:
        """Make them with the shop's templates.

        Args:
            url_for: The address of an endpoint of either half.
            compiled: Where the templates are kept compiled.
        """
        loader: BaseLoader = PackageLoader("coatcheck.demo")
        self._templates = Environment(loader=loader, autoescape=True, bytecode_cache=compiled)
        self._known = {"url_for": url_for, "version": __version__, "half": "FastAPI"}

    async def page(
        self, request: Request, template: str, status: int = HTTPStatus.OK, **values: Any
    ) -> HTMLResponse:
        """A page for this visitor. The messages that wait for him are taken, and shown.

        Raises:
            StoreError: The store can't say who is looking, or can't give the messages away.
        """
        session: StarletteSession = request.scope["session"]
        await session.load()
        name = getattr(request.scope.get("route"), "name", "")
        shown: dict[str, Any] = {
            "user": session.user,
            "theme": session.get("theme", "auto"),
            "pieces": basket.pieces(session),
            "messages": [(flash.category, flash.message) for flash in await session.take_flashes()],
            "csrf": token_of(session),
            "endpoint": name,
            "here": "express.counter",
            "cost": COST,
        }
        return self._html(template, status, shown | values)

    async def error(self, request: Request, status: int, title: str, text: str) -> HTMLResponse:
        """A page for what went wrong."""
        return await self.page(request, "error.html", status, code=int(status), title=title, text=text)

    def bare_error(self, status: int, title: str, text: str) -> HTMLResponse:
        """A page for what went wrong, without a look at the session."""
        values = {"bare": True, "code": int(status), "title": title, "text": text}
        return self._html("error.html", status, values)

    def locked(self) -> bytes:
        """The page for a store that can't be reached, or can't store."""
        return bytes(self.bare_error(HTTPStatus.SERVICE_UNAVAILABLE, *LOCKED).body)

    def cost(self, request: Traced) -> str:
        """The line at the foot of a page."""
        return self._templates.get_template("cost.html").render(request_cost=request)

    def _html(self, template: str, status: int, values: dict[str, Any]) -> HTMLResponse:
        html = self._templates.get_template(template).render(self._known | values)
        return HTMLResponse(html, status, headers={"Cache-Control": "private, no-cache"})
