"""The commands of the page about SQLite that copy and restore the file, beside a site that runs."""

import re
import subprocess

import pytest

from coatcheck import Sessions
from tests.docs.pages import DOCS, SECRET
from tests.visitor import Visitor

PAGE = (DOCS / "how-to" / "sqlite.md").read_text()


def commands_of(heading):
    section = re.search(rf"^## {heading}\n(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)[1]
    return re.findall(r"^\$ (.*)$", section, re.MULTILINE)


def run(command):
    subprocess.run(command, shell=True, check=True, timeout=60)


@pytest.mark.parametrize("how", [0, 1], ids=commands_of("Back up"))
def test_a_copy_that_is_restored_in_the_order_of_the_page_has_what_was_there(how, empty_folder):
    url = "sqlite:///sessions.db"
    site = Sessions.from_url(url, secret=SECRET)
    visitor = Visitor(site)
    with visitor.request() as session:
        session["basket"] = ["figs"]
    run(commands_of("Back up")[how])  # while it runs
    with visitor.request() as session:
        session["basket"] = ["pears"]
    site.shutdown()
    *removing, putting = commands_of("Restore")
    for command in removing:
        run(command)
    (copy,) = re.findall(r"copy\d?\.db", commands_of("Back up")[how])
    run(putting.replace("copy.db", copy))
    with Sessions.from_url(url, secret=SECRET) as restored:
        assert Visitor(restored, visitor.cookie).read() == {"basket": ["figs"]}
