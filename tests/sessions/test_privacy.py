"""Nothing that is shown or logged holds a token, a secret or a value."""

from __future__ import annotations

import logging
import traceback

import pytest

from coatcheck.http.token import Ring
from tests.visitor import OLD_SECRET, SECRET, Visitor


@pytest.mark.promise("18")
def test_neither_tokens_nor_secrets_nor_values_show_anywhere(make, caplog, capfd):
    shown = []
    sessions = make(on_event=lambda event: shown.append(repr(event)), secret=[SECRET, OLD_SECRET])
    visitor = Visitor(sessions)
    with caplog.at_level(logging.DEBUG), visitor.request() as session:
        session["password"] = "hunter2"
        session["nested"] = {"deep": ["hunter2"]}
        session.flash("hunter2")
        csrf = session.csrf_token()
        session.sign_in("ada")
        shown += [repr(session), str(session), repr(sessions), repr(sessions.settings)]
        for wrong in (
            lambda: session.__setitem__("hunter2's", object()),
            lambda: session.__setitem__("x", {"hunter2": object()}),
            lambda: session["missing"],
            lambda: session.sign_in(5),
        ):
            with pytest.raises(Exception) as caught:
                wrong()
            shown.append("".join(traceback.format_exception(caught.value)))
    shown += [repr(sessions.of_user("ada")), repr(visitor.outcome.vary), caplog.text, *capfd.readouterr()]
    raw = Ring(SECRET, purpose="__Host-session").verify(visitor.token.encode())
    text = "\n".join(shown).replace("hunter2's", "")
    for secret in (
        SECRET,
        OLD_SECRET,
        visitor.token,
        raw.secret.hex(),
        repr(raw.secret)[2:-1],
        raw.secret_hash.hex(),
        csrf,
    ):
        assert secret not in text
    # The source lines of this test stand in the tracebacks; the values must not stand anywhere else.
    lines = [
        line
        for line in text.splitlines()
        if "hunter2" in line and "lambda" not in line and "wrong()" not in line
    ]
    assert lines == []
