"""Short ways to go through requests with an async manager."""

SECRET = "t3Kq9VnWcX0bRz7uYh2LdPfJ8sMgA5eQoTiN1rBxGvE"


def cookie_of(outcome):
    """The Cookie header of a visitor who got this outcome."""
    return outcome.set_cookie.split(";")[0].encode()


async def visit(sessions, cookies=b"", *, user=None, **fields):
    """A request that sets fields, and signs in; the Cookie header of the next one."""
    session = sessions.open(cookies)
    await sessions.load(session)
    session.update(fields)
    if user is not None:
        session.sign_in(user)
    outcome = await sessions.close(session)
    return cookies if outcome.set_cookie is None else cookie_of(outcome)


async def look(sessions, cookies):
    """A session that was loaded."""
    session = sessions.open(cookies)
    await sessions.load(session)
    return session
