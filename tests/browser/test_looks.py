"""How the explorer looks: on a phone, in the dark, to who cannot see it, and after the window has changed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.pages import find, look_at, show, until, why_no_browser

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = [pytest.mark.browser, pytest.mark.skipif(why_no_browser() is not None, reason=str(why_no_browser()))]


def test_every_control_has_a_name(browser: Chrome, address: str) -> None:
    show(browser, address, "?b=1&optimizer=muon&shape=8+8")
    until(lambda: find(browser, "#measured label"))
    nameless = browser.execute_script("""
        const named = (node) => node.labels?.length || node.getAttribute('aria-label') || node.textContent.trim();
        return [...document.querySelectorAll('input, select, button, [role=img], [role=application], [tabindex="0"]')]
            .filter((node) => !named(node)).map((node) => node.outerHTML)""")
    assert nameless == []
    assert find(browser, "html").get_attribute("lang") == "en"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("tab", ["run", "optimum"])
def test_a_phone(browser: Chrome, address: str, scheme: str, tab: str) -> None:
    """Nothing is wider than the screen; what is touched is large enough; text stands out from its ground."""
    look_at(browser, width=390, height=800, scheme=scheme)
    browser.get(f"{address}?b=1&b.weight_decay=0.4&tab={tab}")
    until(lambda: browser.find_elements("css selector", "#facts td" if tab == "run" else "#plot-optimum path"))
    assert browser.execute_script("return document.scrollingElement.scrollWidth") <= 390
    small = browser.execute_script("""
        const touched = 'form input[type=range], form input[type=text], form select, .which button';
        return [...document.querySelectorAll(touched)]
            .filter((node) => node.offsetParent && node.getBoundingClientRect().height < 28).map((node) => node.id)""")
    assert small == []
    assert contrast(browser, "h1", "body") > 7
    assert contrast(browser, "aside .field label", "body") > 7
    assert contrast(browser, ".quiet:not(:empty)", "body") > 4.5


def test_a_report_on_a_phone(browser: Chrome, tmp_path: Path) -> None:
    from experiments.cli.main import main

    where = tmp_path / ("a-folder-with-a-long-name-" * 4)
    command = "train --preset cpu-16 --learning-rate 1e-2 --num-steps 20 --device cpu --record-every 5"
    assert main([*command.split(), "--out", str(where)]) == 0
    assert main(["report", str(where)]) == 0
    look_at(browser, width=390, height=800)
    browser.get((where / "report.html").as_uri())
    assert browser.execute_script("return document.scrollingElement.scrollWidth") <= 390


def contrast(browser: Chrome, text: str, ground: str) -> float:
    """Ratio of luminances as WCAG defines it."""
    script = """const [front, back] = [...arguments].map((one) => getComputedStyle(document.querySelector(one)));
        return [front.color, back.backgroundColor]"""
    lights = []
    for colour in browser.execute_script(script, text, ground):
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        lights.append(sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True)))
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def test_pictures_keep_their_shape_when_the_window_changes(browser: Chrome, address: str) -> None:
    """A unit of every picture is a pixel in both directions, at once as large as in the other, and soon one of each."""
    show(browser, address, "?b=1")
    units = """return [...document.querySelectorAll('.plot svg')].filter((node) => node.clientWidth).map((node) => {
        const each = node.getScreenCTM(); return [each.a, each.d]; })"""
    for width in (390, 1280, 700):
        look_at(browser, width=width, height=800)
        assert all(across == pytest.approx(down, rel=1e-3) for across, down in browser.execute_script(units))
        until(lambda: all(abs(each - 1) < 0.01 for pair in browser.execute_script(units) for each in pair))


def test_no_choice_is_cut_off_on_a_phone(browser: Chrome, address: str) -> None:
    look_at(browser, width=390, height=800)
    browser.get(f"{address}?tab=optimum")
    until(lambda: find(browser, "#law-axis").is_displayed())
    wide = browser.execute_script("""
        const pen = document.createElement('canvas').getContext('2d');
        return [...document.querySelectorAll('select')].filter((node) => node.offsetParent).flatMap((node) => {
            pen.font = getComputedStyle(node).font;
            return [...node.options].map((one) => [one.text, pen.measureText(one.text).width, node.clientWidth - 40]);
        }).filter(([, needed, room]) => needed > room).map(([text]) => text)""")
    assert wide == []
