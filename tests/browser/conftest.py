"""One explorer and one browser for all tests of a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browser.pages import explorer, look_at, open_browser

if TYPE_CHECKING:
    from selenium.webdriver import Chrome


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with explorer("--run", "docs/same-angle/runs.csv") as found:
        yield found


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chrome]:
    found = open_browser()
    yield found
    found.quit()


@pytest.fixture
def browser(chromium: Chrome) -> Iterator[Chrome]:
    """At 1280 pixels, light; behind each test nothing may have been said to the console."""
    look_at(chromium)
    chromium.get_log("browser")
    yield chromium
    said = [line for line in chromium.get_log("browser") if "net::ERR_" not in line["message"]]  # a server that is gone
    refused = [line for line in said if "400 (Bad Request)" in line["message"]]  # what a field was refused for
    assert said == refused, said
