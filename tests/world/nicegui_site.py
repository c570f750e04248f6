"""A FastAPI site with NiceGUI in it; uvicorn serves `beside` or `instead`. NiceGUI is one for each process."""

from fastapi import FastAPI
from nicegui import app as gui
from nicegui import ui
from nicegui.storage import RequestTrackingMiddleware

from coatcheck import AsyncSessions
from coatcheck.frameworks.fastapi import CurrentSession, SessionMiddleware
from coatcheck.stores.memory import AsyncMemoryStore

SECRET = "t3Kq9VnWcX0bRz7uYh2LdPfJ8sMgA5eQoTiN1rBxGvE"


@ui.page("/")
def page():
    gui.storage.user["visits"] = gui.storage.user.get("visits", 0) + 1
    ui.label(f"visit {gui.storage.user['visits']}")


def site():
    app = FastAPI()

    @app.get("/sign-in")
    async def sign_in(session: CurrentSession) -> None:
        session.sign_in("ada")

    @app.get("/sign-out")
    async def sign_out(session: CurrentSession) -> None:
        session.sign_out()

    @app.get("/who")
    async def who(session: CurrentSession) -> str | None:
        return session.user

    app.add_middleware(
        SessionMiddleware,
        sessions=AsyncSessions(AsyncMemoryStore(), secret=SECRET, insecure_http=True),
    )
    return app


def beside():
    """As NiceGUI's documentation has it: its storage gets a session middleware of its own."""
    app = site()
    ui.run_with(app, mount_path="/gui", storage_secret="theirs")
    return app


def instead():
    """Without a `storage_secret`, its storage finds our session."""
    app = site()
    ui.run_with(app, mount_path="/gui")
    gui.add_middleware(RequestTrackingMiddleware)
    return app
