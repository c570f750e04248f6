"""The README's application in FastAPI. Checked by mypy and pyright, never run."""

import os

from fastapi import FastAPI

from coatcheck import AsyncSessions
from coatcheck.frameworks.fastapi import CurrentSession, SessionMiddleware

sessions = AsyncSessions.from_url("sqlite:///sessions.db", secret=os.environ["SESSION_SECRET"])
app = FastAPI()
app.add_middleware(SessionMiddleware, sessions=sessions, load="on_demand")


@app.post("/basket/{item}")
async def add(item: str, session: CurrentSession) -> list[str]:
    basket: list[str] = session.setdefault("basket", [])
    basket.append(item)
    return basket
