"""The README's application in FastAPI. Checked by mypy and pyright, never run."""

import os

from fastapi import FastAPI

from coatcheck import AsyncSessions
from coatcheck.frameworks.fastapi import CurrentSession, SessionMiddleware

sessions = AsyncSessions.from_url("sqlite:///sessions.db", secret=os.environ["SESSION_SECRET"])
api = FastAPI()
api.add_middleware(SessionMiddleware, sessions=sessions, load="on_demand")


@api.get("/basket")
async def basket(session: CurrentSession) -> list[str]:
    return session.get("basket", [])
