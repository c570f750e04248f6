"""The pickles that pycket's sessions are written as."""

import pickle
import pickletools
from fractions import Fraction

import pytest

from coatcheck.compat.pycket._pickles import PROTOCOL_OF_OLD, Pickles, pickles
from coatcheck.compat.pycket.driver import DriverFactory
from coatcheck.errors import DecodeError, NotStorable

pytestmark = pytest.mark.promise("19")

PLAIN = {"none": None, "texts": ["é", b"\xff"], "sets": [{1}, frozenset("a")], "nested": {1: ({"a": 2**70},)}}


def test_without_side_by_side_a_pickle_of_builtins_names_nothing():
    """[FIX 3.4] [7.3 a pickle only of builtin containers and scalars]"""
    opcodes = {opcode.name for opcode, _, _ in pickletools.genops(Pickles().dumps(PLAIN))}
    assert not opcodes & {"GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "NEWOBJ", "INST", "OBJ"}


def test_side_by_side_it_is_of_protocol_2():
    """[3.5 protocol 0 on 2.7, 3, 4] [7.3 protocol 2 is read by all]"""
    data = Pickles(protocol=PROTOCOL_OF_OLD).dumps(PLAIN)
    assert data[:2] == b"\x80\x02"
    assert pickle.loads(data) == Pickles().loads(data) == PLAIN


def test_a_record_is_a_dict():
    assert Pickles().loads_dict(Pickles().dumps({"a": 1})) == {"a": 1}
    with pytest.raises(DecodeError, match="not a dict"):
        Pickles().loads_dict(Pickles().dumps([1]))


def test_what_is_refused_names_its_field():
    with pytest.raises(NotStorable, match="Fraction") as caught:
        Pickles().dumps([Fraction(1)], field="cart")
    assert caught.value.field == "cart"


@pytest.mark.parametrize("allow", [[Fraction], ["fractions.Fraction"], "fractions.Fraction"], ids=str)
def test_the_setting_allow_reaches_the_driver(allow):
    driver = DriverFactory().create("redis", {}, "db_sessions", allow=allow)
    assert driver.pickles.loads(driver.pickles.dumps(Fraction(1, 2))) == Fraction(1, 2)
    assert pickles((), 4).loads(b"N.") is None
