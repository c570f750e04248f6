"""Tests of a group run in one process, which sets up once what they share."""

import pytest


@pytest.mark.xdist_group("a-group")
def test_a_test_is_sent_by_the_name_of_its_group(request):
    grouped = getattr(request.config.option, "loadgroup", False)
    assert request.node.nodeid.endswith("@a-group") is grouped, "pytest-xdist does not know this pytest"
