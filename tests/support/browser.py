"""A headless browser, and a demo process whose page it shows."""

import re
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from tests.support.forking import ForkedOutsideLoop

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="needs chromium and chromedriver (on Debian: the package chromium-driver)",
)

_PATIENCE_SECONDS = 20


class Browser:
    """A page in a headless browser.

    Args:
        driver: controls the browser.
    """

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def find(self, css: str) -> WebElement:
        """The first element that matches a selector."""
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def text(self, css: str) -> str:
        """The text of an element, visible or not."""
        return self.find(css).get_attribute("textContent") or ""

    def run(self, script: str, *arguments: object) -> object:
        """The result of a script."""
        result: object = self.driver.execute_script(script, *arguments)
        return result

    def until(self, holds: Callable[[], object], what: str) -> None:
        """Wait until a condition holds."""
        wait = WebDriverWait(self.driver, _PATIENCE_SECONDS, poll_frequency=0.1)
        wait.until(lambda _: holds(), f"not within {_PATIENCE_SECONDS} s: {what}")

    def emulate(self, command: str, **parameters: object) -> None:
        """Send a command in the browser's own protocol."""
        self.driver.execute_cdp_cmd(f"Emulation.{command}", parameters)

    def errors(self) -> list[str]:
        """The errors on the console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless browser that can reach only this machine."""
    assert CHROMIUM is not None
    assert DRIVER is not None
    options = ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        # Pages for the address bar, which nobody sees: rendering them takes a second of CPU time.
        "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup",
        # The tests may run as root, where its sandbox does not work.
        "--no-sandbox",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--window-size=1280,1000",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(DRIVER))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


@contextmanager
def demo_page(*arguments: str, port: int = 0) -> Iterator[tuple[str, ForkedOutsideLoop]]:
    """The URL of a demo's page, and its process, which ends with the context."""
    process = ForkedOutsideLoop("demo", "--page", f"--page-port={port}", *arguments)
    with process.stdout as out, process.status, ThreadPoolExecutor() as pool:
        try:
            for line in out:
                if found := re.match(r"  (http://\S+/)  ", line):
                    break
            else:
                raise AssertionError("the demo printed no URL")
            # Nobody reads the rest, and a full pipe would block it.
            pool.submit(out.read)
            yield found[1], process
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()
