"""The explorer in a browser, as people use it: click, drag, type nonsense, keys alone, a phone, two windows, back."""

from __future__ import annotations

import re
import shlex
import statistics
from typing import TYPE_CHECKING

import pytest

from experiments.cli.main import main
from tests.browser.pages import (
    drag,
    explorer,
    facts,
    fields_shown,
    fill,
    find,
    quiet,
    show,
    until,
    value,
    why_no_browser,
)
from tests.experiments.cli.said import strict_json

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = [pytest.mark.browser, pytest.mark.skipif(why_no_browser() is not None, reason=str(why_no_browser()))]

NONE = "\u2013"


def test_a_drag_is_answered_while_it_lasts(browser: Chrome, address: str) -> None:
    """Schedules of 100,000 steps; from the event of a move to the picture that shows it. In a drag that is no more than
    the answer before it and its own: moves that wait in line would take many times that of one by itself."""
    show(browser, address, "?num_steps=100000&schedule=cosine&warmup_steps=1000&initial_rms=0.02")

    def latencies(num_moves: int) -> list[float]:
        until(lambda: quiet(browser))
        browser.execute_script("moves.latencies.length = 0")
        drag(browser, find(browser, "#field-learning_rate-slider"), num_moves)
        until(lambda: quiet(browser))
        return [each / 1000 for each in browser.execute_script("return moves.latencies")]

    alone = statistics.median([each for _ in range(7) for each in latencies(1)])
    together = latencies(40)
    assert len(together) >= 20
    print(f"\na move: {alone * 1000:.0f} ms alone, {statistics.median(together) * 1000:.0f} ms in a drag (medians)")
    assert statistics.median(together) < 6 * alone


def test_what_is_shown_is_what_the_command_line_gives(
    browser: Chrome, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    show(
        browser,
        address,
        "?schedule=wsd&warmup_steps=500&weight_decay=0.3&beta2=0.99&finite_beta2=1&b=1&b.optimizer=lion",
    )
    lines = until(
        lambda: (
            [line.text for line in browser.find_elements("css selector", "#commands code")][1:]
            and [line.text for line in browser.find_elements("css selector", "#commands code")]
        )
    )
    shown = facts(browser)
    for place, line in enumerate(lines):
        assert main([*shlex.split(line)[1:], "--json"]) == 0
        answer = strict_json(capsys.readouterr().out)
        for heading, key in (("final RMS", "final_rms"), ("angle at equilibrium (rad)", "angular_update_equilibrium")):
            assert float(shown[heading][place]) == pytest.approx(answer[key], rel=6e-4)
        steps = NONE if answer["transient_steps"] is None else f"{answer['transient_steps']:,}"
        assert shown["transient ends (step)"][place].startswith(steps)


def test_equal_settings_are_both_seen_and_a_crossing_is_called_one(browser: Chrome, address: str) -> None:
    falling = "schedule=cosine&num_steps=100000"
    show(browser, address, f"?{falling}&b=1&b.{falling.replace('&', '&b.')}&b.initial_rms=0.14")
    until(lambda: find(browser, "#plot-map .points rect.ring.hollow"))
    until(lambda: "first within 5 % of the peak rate's equilibrium (step)" in facts(browser))
    command = find(browser, "#commands code")
    assert command.get_property("scrollWidth") <= command.get_property("clientWidth")


def test_a_map_says_whose_it_is(browser: Chrome, address: str) -> None:
    """That of the edited setting; the other stands in it in full only where it is its map too."""

    def title() -> str:
        return find(browser, "#map-of").text

    faint = "#plot-map .points .elsewhere"
    show(browser, address, "?b=1&b.initial_rms=0.3&edit=b")
    until(lambda: find(browser, f"{faint} circle.ring.a"))
    assert title() == ", of setting B"
    assert "The map of A, faint here, is another." in find(browser, "#map-said").text
    find(browser, "#edit-a").click()
    until(lambda: find(browser, f"{faint} rect.ring.b"))
    assert title() == ", of setting A"
    show(browser, address, "?b=1&b.learning_rate=0.01")
    until(lambda: find(browser, "#plot-map .points rect.ring.b"))
    assert title() == ", of settings A and B"
    assert not browser.find_elements("css selector", faint)
    show(browser, address)
    until(lambda: find(browser, "#plot-map .points circle.ring.a"))
    assert title() == ""


def test_a_click_on_the_map_moves_the_setting(browser: Chrome, address: str) -> None:
    show(browser, address)
    plot = until(lambda: find(browser, "#plot-map svg rect[class^=level]") and find(browser, "#plot-map"))
    before = facts(browser)
    drag(browser, plot, 6, start=(40, 30))
    until(lambda: facts(browser) != before and quiet(browser))
    rate, decay = float(value(browser, "learning_rate")), float(value(browser, "weight_decay"))
    assert rate > 1e-3
    assert decay < 0.3
    until(lambda: f"learning_rate={value(browser, 'learning_rate')}" in browser.current_url)
    label = str(find(browser, "#plot-map").get_attribute("aria-label"))
    told = re.search(r"A at learning rate ([\d.e-]+), decay ([\d.e-]+\d)", label)
    assert told is not None
    assert (float(told[1]), float(told[2])) == (rate, decay)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("learning_rate", "fast"),
        ("num_steps", "1e99"),
        ("weight_decay", "<img src=x onerror=alert(1)>"),
        ("beta1", "1"),
    ],
)
def test_nonsense_is_said_beside_the_field(browser: Chrome, address: str, name: str, text: str) -> None:
    show(browser, address)
    before = facts(browser)
    fill(browser, name, text)
    line = until(lambda: find(browser, f"#field-{name}-error").text)
    assert line.startswith("--" + name.replace("_", "-"))
    box = find(browser, f"#field-{name}")
    assert box.get_attribute("aria-invalid") == "true"
    assert box.get_attribute("aria-describedby") == f"field-{name}-error"
    assert facts(browser) == before, "the last picture stays"
    assert not browser.find_elements("css selector", "img")
    fill(browser, name, {"num_steps": "30000", "beta1": "0.8"}.get(name, "0.002"))
    until(lambda: not find(browser, f"#field-{name}-error").text and facts(browser) != before)


def test_keys_alone(browser: Chrome, address: str) -> None:
    """From the top of the page to a slider, another tab, the map and back, without a pointer."""
    from selenium.webdriver.common.keys import Keys

    show(browser, address)

    def focused() -> str:
        return str(browser.execute_script("return document.activeElement.id || document.activeElement.className"))

    def press(*keys: str) -> None:
        browser.switch_to.active_element.send_keys(*keys)

    seen = []
    for _ in range(12):
        press(Keys.TAB)
        seen.append(focused())
        if seen[-1] == "field-learning_rate-slider":
            break
    assert seen[:2] == ["skip", "tab-run"]
    assert seen[-1] == "field-learning_rate-slider"
    before = float(value(browser, "learning_rate"))
    press(Keys.ARROW_RIGHT * 20)
    until(lambda: quiet(browser) and float(value(browser, "learning_rate")) > 1.2 * before)
    find(browser, "#tab-run").send_keys(Keys.ARROW_RIGHT)
    assert focused() == "tab-optimum"
    until(lambda: browser.find_elements("css selector", "#optimum-words li"))
    press(Keys.ARROW_LEFT)
    assert find(browser, "#view-run").is_displayed()
    plot = until(lambda: find(browser, "#plot-map svg") and find(browser, "#plot-map"))
    decay = float(value(browser, "weight_decay"))
    plot.send_keys(Keys.ARROW_UP)
    until(lambda: float(value(browser, "weight_decay")) > decay)
    assert focused() == "plot-map"
    find(browser, "#plot-rms").send_keys(Keys.ARROW_RIGHT * 5)
    read = find(browser, "#read-out").get_attribute("textContent")
    assert re.match(r"step [\d,]+: A [\d.e-]+", str(read))


def test_two_windows_do_not_know_of_each_other(browser: Chrome, address: str) -> None:
    show(browser, address, "?learning_rate=2e-3")
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    try:
        show(browser, address, "?learning_rate=5e-3")
        fill(browser, "learning_rate", "7e-3")
        until(lambda: quiet(browser) and "7e-3" in browser.current_url)
        other = facts(browser)
        browser.switch_to.window(first)
        assert value(browser, "learning_rate") == "2e-3"
        fill(browser, "weight_decay", "0.2")
        until(lambda: quiet(browser))
        assert facts(browser) != other
        browser.switch_to.window(browser.window_handles[-1])
        assert facts(browser) == other
    finally:
        if browser.current_window_handle != first:
            browser.close()
        browser.switch_to.window(first)


def test_back_and_forward(browser: Chrome, address: str) -> None:
    """A drag is one step back; another setting, its edit and the tab are too."""
    show(browser, address, "?learning_rate=2e-3")
    before = facts(browser)
    drag(browser, find(browser, "#field-learning_rate-slider"), 12)
    find(browser, "#edit-b").click()  # while the end of the drag is not in the address yet
    until(lambda: quiet(browser))
    dragged = value(browser, "learning_rate")
    assert dragged != "2e-3"
    fill(browser, "weight_decay", "0.5")
    until(lambda: len(facts(browser)["final RMS"]) == 3)
    browser.back()
    until(lambda: value(browser, "weight_decay") == "0.1")
    browser.back()
    until(lambda: len(facts(browser)["final RMS"]) == 1)
    assert value(browser, "learning_rate") == dragged
    browser.back()
    until(lambda: value(browser, "learning_rate") == "2e-3" and facts(browser) == before)
    browser.forward()
    until(lambda: value(browser, "learning_rate") == dragged)


def test_the_address_is_the_state(browser: Chrome, address: str) -> None:
    show(browser, address)
    find(browser, "#edit-b").click()
    fill(browser, "learning_rate", "4e-3")
    find(browser, "#log-steps").click()
    find(browser, "#tab-optimum").click()
    box = find(browser, "#law-num_params")
    box.clear()
    box.send_keys("3e9")
    until(lambda: all(part in browser.current_url for part in ("b.learning_rate=4e-3", "steps=log", "num_params=3e9")))
    copied = browser.current_url
    browser.get(copied)
    until(lambda: find(browser, "#law-num_params").get_attribute("value") == "3e9")
    assert value(browser, "learning_rate") == "4e-3"
    assert browser.current_url == copied
    until(lambda: browser.find_elements("css selector", "#optimum-words li"))
    find(browser, "#tab-run").click()
    assert find(browser, "#log-steps").is_selected()
    until(lambda: len(facts(browser)["final RMS"]) == 3)


def test_the_second_tab_says_where_its_length_comes_from(browser: Chrome, address: str) -> None:
    browser.get(f"{address}?num_steps=30000&tab=optimum")
    told = until(lambda: find(browser, "#law-length").text)
    assert "D / B = 48,828 steps" in told
    assert "Setting A has 30,000" in told
    find(browser, "#law-as-long").click()
    until(lambda: "30,000 steps, as long as setting A" in find(browser, "#law-length").text)
    assert find(browser, "#law-num_tokens").get_attribute("value") == "1536000000"
    assert "law.num_tokens=1536000000" in browser.current_url
    assert not find(browser, "#law-as-long").is_displayed()


def test_what_was_measured_lies_over_the_curves(browser: Chrome, address: str) -> None:
    show(browser, address)
    box = until(lambda: find(browser, "#measured input"))
    points = "#plot-rms path.fill-measured"
    until(lambda: len(browser.find_elements("css selector", points)) > 10)
    box.click()
    until(lambda: not browser.find_elements("css selector", points))


def test_a_simulation_on_demand(browser: Chrome, address: str) -> None:
    show(browser, address, "?num_steps=300&learning_rate=1e-2")
    find(browser, "#simulate").click()
    until(lambda: browser.find_elements("css selector", "#plot-rms path.fill-simulated"), patience=240)
    assert "16 replicas of 256 entries" in find(browser, "#simulate-said").text
    fill(browser, "learning_rate", "2e-2")
    until(lambda: not browser.find_elements("css selector", "#plot-rms path.fill-simulated"))


def test_the_server_goes_and_comes_back(browser: Chrome) -> None:
    with explorer() as found:
        show(browser, found)
        before = facts(browser)
    port = found.rstrip("/").rpartition(":")[2]
    fill(browser, "learning_rate", "3e-3")
    banner = find(browser, "#gone")
    until(banner.is_displayed)
    assert f"lrbend explore --port {port}" in banner.text
    assert facts(browser) == before
    with explorer("--port", port) as again:
        assert again == found
        until(lambda: not banner.is_displayed() and facts(browser) != before)


def test_fields_are_those_of_the_optimizer(browser: Chrome, address: str) -> None:
    show(browser, address)
    assert not fields_shown(browser)["field-shape"]
    find(browser, "#field-optimizer option[value=adamh]").click()
    until(lambda: not fields_shown(browser)["field-weight_decay"])
    until(lambda: "holds the norm" in find(browser, "#map-said").text)
    find(browser, "#field-optimizer option[value=muon]").click()
    until(lambda: fields_shown(browser)["field-shape"])
    until(lambda: "--shape" in find(browser, "#field-shape-error").text)
    fill(browser, "shape", "8 16")
    until(lambda: not find(browser, "#field-shape-error").text)
