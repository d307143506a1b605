"""A browser without a window, an explorer for it to look at, and what a hand does there."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0  # seconds: other work may keep this machine busy


def why_no_browser() -> str | None:
    """What is missing for these tests; None if nothing is."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed: pip install -e '.[browser]'"
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"no {' and no '.join(missing)}: apt-get install chromium chromium-driver" if missing else None


def open_browser() -> Chrome:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))


def look_at(browser: Chrome, *, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
    """Size and colour scheme of all that is opened from now on; below 500 pixels it is a phone."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


@contextlib.contextmanager
def explorer(*words: str) -> Iterator[str]:
    """``lrbend explore`` in a process of its own; yields its address, the first line that it prints."""
    code = "import sys; from experiments.cli.main import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "explore", "--no-browser", *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def until(condition: Any, *, patience: float = PATIENCE) -> Any:
    """The first true value of a function of nothing, asked for again and again; AssertionError if none comes."""
    from selenium.common.exceptions import WebDriverException

    end = time.monotonic() + patience
    last: object = None
    while time.monotonic() < end:
        try:
            if last := condition():
                return last
        except WebDriverException as error:
            last = error
        time.sleep(0.03)
    raise AssertionError(f"not within {patience:g} s: {last!r}")


def find(browser: Chrome, selector: str) -> WebElement:
    return browser.find_element("css selector", selector)


def show(browser: Chrome, address: str, query: str = "") -> None:
    browser.get(address + query)
    until(lambda: facts(browser))


def facts(browser: Chrome) -> dict[str, list[str]]:
    """The table of numbers by its headings, a value for each setting; as it is at 1280 pixels."""
    script = """const rows = [...document.querySelectorAll('#facts tbody tr')];
        return [...document.querySelectorAll('#facts thead th')].map((head, place) =>
            [head.textContent, rows.map((row) => row.cells[place + 1].textContent)])"""
    return dict(browser.execute_script(script))


def fill(browser: Chrome, name: str, text: str) -> None:
    from selenium.webdriver.common.keys import Keys

    box = find(browser, f"#field-{name}")
    box.send_keys(Keys.CONTROL, "a")
    box.send_keys(text, Keys.TAB)


def value(browser: Chrome, name: str) -> str:
    return str(find(browser, f"#field-{name}").get_attribute("value"))


def quiet(browser: Chrome) -> bool:
    """Whether every move has its picture."""
    return bool(browser.execute_script("return moves.waiting.length === 0 && !askers.a.busy"))


def drag(browser: Chrome, node: WebElement, steps: int, *, start: tuple[int, int] = (0, 0)) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.actions.pointer_input import PointerInput

    pointer = PointerInput("mouse", "mouse")
    chain = ActionChains(browser, duration=10, devices=[pointer])
    chain.move_to_element_with_offset(node, *start).click_and_hold()
    for _ in range(steps):
        chain.move_by_offset(3, 0).pause(0.04)
    chain.release().perform()


def fields_shown(browser: Chrome) -> dict[str, Any]:
    script = """return [...document.querySelectorAll('.field')]
        .map((row) => [row.querySelector('input, select').id, !row.hidden])"""
    return dict(browser.execute_script(script))
