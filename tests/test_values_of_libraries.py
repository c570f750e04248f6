"""Values that other libraries hand over: stored as what they equal, or refused with advice that works."""

from __future__ import annotations

import datetime as dt
from enum import Enum

import pydantic
import pytest
import sqlalchemy.orm
from markupsafe import Markup
from starlette.datastructures import URL, FormData, QueryParams
from werkzeug.datastructures import ImmutableMultiDict, MultiDict

from coatcheck.errors import NotStorable
from coatcheck.model import codec
from coatcheck.model.codec import decode, encode

pytestmark = pytest.mark.promise("C", "21")


class Kind(Enum):
    ONE = "one"


class Model(pydantic.BaseModel):
    kind: Kind = Kind.ONE


class Row(sqlalchemy.orm.DeclarativeBase):
    pass


class User(Row):
    __tablename__ = "user"
    number: sqlalchemy.orm.Mapped[int] = sqlalchemy.orm.mapped_column("id", primary_key=True)


class Member(Row):
    __tablename__ = "member"
    team: sqlalchemy.orm.Mapped[int] = sqlalchemy.orm.mapped_column(primary_key=True)
    person: sqlalchemy.orm.Mapped[int] = sqlalchemy.orm.mapped_column(primary_key=True)


REFUSED = [
    (Model(), 'value.model_dump(mode="json")', {"kind": "one"}),
    (User(number=7), "value.number", 7),
    (Member(team=1, person=2), "[value.team, value.person]", [1, 2]),
    (MultiDict([("a", "1"), ("a", "2")]), "value.to_dict(flat=False)", {"a": ["1", "2"]}),
    (ImmutableMultiDict([("a", "1"), ("a", "2")]), "value.to_dict(flat=False)", {"a": ["1", "2"]}),
    (QueryParams("a=1&a=2"), "value.multi_items()", [("a", "1"), ("a", "2")]),
    (FormData([("a", "1"), ("a", "2")]), "value.multi_items()", [("a", "1"), ("a", "2")]),
    (URL("https://a.example"), "str(value)", "https://a.example"),
]


@pytest.mark.parametrize(("value", "advice", "stored"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_refused_is_stored_as_advised(value, advice, stored):
    with pytest.raises(NotStorable) as caught:
        encode({"a": [value]})
    assert f"store {advice}" in str(caught.value)
    assert decode(encode(eval(advice, {"value": value}))) == stored


def test_a_class_gets_no_advice_for_its_instances():
    for kind in (Model, User):
        with pytest.raises(NotStorable, match="plain data"):
            encode(kind)


def test_markup_is_stored_as_its_text():
    assert encode(Markup("<b>")) == encode("<b>")


def test_a_moment_is_stored_while_another_class_stands_under_the_name_of_datetime(monkeypatch):
    # What freezegun does with every module, as long as a time is frozen.
    class FakeDate(dt.date):
        pass

    class FakeDatetime(dt.datetime, FakeDate):
        pass

    monkeypatch.setattr(codec, "date", FakeDate)
    monkeypatch.setattr(codec, "datetime", FakeDatetime)
    for value in (FakeDatetime(2026, 3, 1, 12, tzinfo=dt.UTC), FakeDate(2026, 3, 1)):
        assert decode(encode(value)) == value
