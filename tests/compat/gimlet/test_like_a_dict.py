"""Whatever is done to a session over several requests, and to a dict beside it, both say the same."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.compat.gimlet.conftest import Visitor

# On a busy machine an example may take long.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

keys = st.sampled_from("abcd")
values = st.one_of(st.none(), st.integers(), st.text(max_size=3), st.lists(st.integers(), max_size=2))
steps = st.one_of(
    st.tuples(st.just("set"), keys, values, st.booleans(), st.booleans()),
    st.tuples(st.just("del"), keys),
    st.tuples(st.just("pop"), keys),
    st.tuples(st.just("default"), keys, values),
    st.tuples(st.just("append"), keys, st.integers()),
    st.tuples(st.just("clear")),
    st.tuples(st.just("invalidate")),
    st.tuples(st.just("next")),
    st.tuples(st.just("settings"), st.booleans()),
)


def do(step, session, model):
    match step:
        case "set", key, value, permanent, clientside:
            session.set(key, value, permanent=permanent, clientside=clientside)
            model[key] = value
        case "del", key:
            if key in model:
                del session[key], model[key]
            else:
                with pytest.raises(KeyError):
                    del session[key]
        case "pop", key:
            assert session.pop(key, 7) == model.pop(key, 7)
        case "default", key, value:
            assert session.setdefault(key, value) == model.setdefault(key, value)
        case "append", key, item:
            if isinstance(model.get(key), list):
                model[key] = [*model[key], item]
                session[key].append(item)
                session.save()
        case ("clear",):
            session.clear()
            model.clear()
        case ("invalidate",):
            session.invalidate()
            model.clear()
    assert session == model
    assert len(session) == len(model)
    assert all(key in session for key in model)


@patient
@given(st.lists(steps, max_size=25))
def test_a_session_is_like_a_dict(taken):
    backend, model = {}, {}
    visitor = Visitor(backend=backend)
    session = visitor.arrive()
    for step in taken:
        if step[0] in ("next", "settings"):
            visitor.leave(session)
            if step[0] == "settings":
                visitor = visitor.again(side_by_side=step[1])
            session = visitor.arrive()
        do(step, session, model)
    visitor.leave(session)
    assert visitor.visit(dict) == model
    assert len(backend) <= 2, "nothing is left of sessions that ended"
