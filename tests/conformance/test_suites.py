"""What frameworks test of their sessions passes with ours, but for what the lists beside this file name."""

import pytest

from tests.conformance.suites import SUITES, exceptions, run


@pytest.mark.parametrize("name", SUITES)
def test_nothing_fails_but_what_the_list_names_with_its_reason(name, tmp_path):
    ran = run(name, tmp_path, ours=True)
    assert ran.number > 10
    assert ran.failed == sorted(exceptions(name))
