"""A headless Chromium for tests of pages."""

from __future__ import annotations

import json
import shutil

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service


def open_browser() -> webdriver.Chrome:
    """Start Debian's Chromium without a window; it has no network, and keeps its console's log."""
    options = Options()
    options.binary_location = _program("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--window-size=1200,900")
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, Service(_program("chromedriver")))
    driver.implicitly_wait(10)  # seconds, at most, until an element is there
    return driver


def _program(name):
    path = shutil.which(name)
    assert path, f"{name} is missing: apt-get install chromium chromium-driver"
    return path


def console(driver: webdriver.Chrome) -> list[str]:
    """Messages in the console since the last call."""
    return [entry["message"] for entry in driver.get_log("browser")]


def requests_of(driver: webdriver.Chrome) -> list[str]:
    """Addresses that pages have asked for since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    return [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
