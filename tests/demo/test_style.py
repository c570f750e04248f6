"""The style sheet: text can be read in both themes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import coatcheck.demo

CSS = (Path(coatcheck.demo.__file__).parent / "static" / "shop.css").read_text()
COLOURS = {
    name: (light, dark)
    for name, light, dark in re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\);", CSS)
}


def luminance(colour):
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("text", "ground"),
    [
        ("ink", "paper"),
        ("ink", "card"),
        ("ink", "tile"),
        ("soft", "paper"),
        ("soft", "card"),
        ("accent", "paper"),
        ("accent", "card"),
        ("on-accent", "accent"),
        ("on-accent", "accent-strong"),
        ("on-good", "good"),
        ("on-hot", "hot"),
        ("on-hot", "card"),
    ],
)
def test_text_has_the_contrast_that_wcag_asks_for(theme, text, ground):
    assert contrast(COLOURS[text][theme], COLOURS[ground][theme]) >= 4.5


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["paper", "card"])
def test_the_edge_of_a_field_has_the_contrast_that_wcag_asks_for(theme, ground):
    assert contrast(COLOURS["field"][theme], COLOURS[ground][theme]) >= 3


def test_every_colour_comes_from_the_one_list():
    rest = CSS.partition("--serif")[2]
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b", rest) == []
