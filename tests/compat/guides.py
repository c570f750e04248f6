"""The tables of round trips that stand in the guides."""

from tests.docs.pages import DOCS


def round_trips_in(page):
    """The rows of the table under "Round trips": what a request does, and the numbers of its columns (–: None)."""
    section = (DOCS / "how-to" / f"{page}.md").read_text().partition("\n## Round trips\n")[2]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("|")
    ]
    return {name: [None if cell == "–" else int(cell) for cell in cells] for name, *cells in rows[2:]}
