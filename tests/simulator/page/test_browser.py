"""The page in a real browser: what a person sees and does."""

import re
import signal
from collections.abc import Iterator, Mapping

import pytest
from aiohttp.test_utils import unused_port
from selenium.webdriver import ActionChains, Keys

from tests.support.browser import Browser, browser, demo_page, needs_chromium
from tests.support.colors import color, contrast, luminance

pytestmark = [pytest.mark.slow, needs_chromium]


@pytest.fixture(scope="module")
def shown() -> Iterator[Browser]:
    """The page of a demo whose HPA has an External metric, in a browser."""
    with demo_page("--metric-type", "external") as (url, _), browser() as found:
        found.driver.get(url)
        found.until(lambda: state(found) == "live", "the page is live")
        yield found


@pytest.fixture
def page(shown: Browser) -> Iterator[Browser]:
    """The same page, initially without a fault and with a varying load."""
    shown.run("scrollTo(0, 0)")
    yield shown
    choose(shown, "fault", "")
    shown.until(lambda: source(shown) == "exporters", "the exporters answer")


def state(page: Browser) -> str:
    """The connection's state."""
    return str(page.run("return document.body.dataset.state"))


def step(page: Browser, number: int) -> str:
    """The text of a step of the loop, counted from 1."""
    return page.text(f"#steps li:nth-child({number})")


def source(page: Browser) -> str:
    """The answer's source."""
    return page.text("#steps li:nth-child(3) .badge")


def replicas(page: Browser) -> int:
    """The desired replicas."""
    found = re.search(r"of (\d+) Ready", step(page, 5))
    assert found is not None
    return int(found[1])


def choose(page: Browser, name: str, value: str) -> None:
    """Choose an option of a group by a click."""
    page.run("arguments[0].click()", page.find(f'input[name="{name}"][value="{value}"]'))


def pull(page: Browser, css: str, share: float) -> None:
    """Drag a slider's thumb to a fraction of its width."""
    slider = page.find(css)
    page.run("arguments[0].scrollIntoView({block: 'center'})", slider)
    now, end = (float(slider.get_attribute(name) or 0) for name in ("value", "max"))
    # The thumb is 16 pixels wide, and stays inside the slider.
    width = slider.size["width"] - 16
    begin = round((now / end - 0.5) * width)
    drag = ActionChains(page.driver, duration=50).move_to_element_with_offset(slider, begin, 0)
    drag.click_and_hold().move_by_offset(round(share * width / 2) - begin // 2, 0)
    drag.move_to_element_with_offset(slider, round((share - 0.5) * width), 0).release().perform()


def test_it_loads_from_itself_alone(page: Browser) -> None:
    """No console errors, no requests elsewhere, no script or style blocked by the policy."""
    url = str(page.run("return location.origin"))
    loaded = page.run("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert isinstance(loaded, list)
    assert len(loaded) >= 7
    assert all(str(name).startswith(f"{url}/") for name in loaded)
    assert page.errors() == []
    assert page.text("h1") == "GPU utilization scales a Deployment"
    assert "The server is real." in page.text("header")


def test_values_change_and_nothing_moves(page: Browser) -> None:
    """The time, charts and pods change with each moment; the layout does not."""
    page.run("""
        window.shift = 0;
        new PerformanceObserver((list) => {
            for (const entry of list.getEntries()) window.shift += entry.value;
        }).observe({type: "layout-shift", buffered: false});
    """)
    before = page.text("#status-text"), page.run("return document.querySelector('svg').innerHTML")
    page.until(lambda: page.text("#status-text") != before[0], "the time changes")
    page.until(
        lambda: page.run("return document.querySelector('svg').innerHTML") != before[1],
        "the chart changes",
    )
    assert re.search(r"^\d+ %$", page.text(".slot.ready:not(.unknown) .number"))
    for number in range(1, 6):
        assert re.search(r"\d", step(page, number)), number
    label = page.find(".chart svg").get_attribute("aria-label") or ""
    assert re.search(r"GPU utilization at \d+:\d\d: target 70 %, the HPA's metric \d+", label)
    first = page.text("#status-text")
    page.until(lambda: page.text("#status-text") != first, "the time changes again")
    # A fraction of a pixel is rounding; 0.1 is the web's limit for good.
    shift = page.run("return window.shift")
    assert isinstance(shift, int | float)
    assert shift < 0.001


def test_dragging_the_load_changes_the_replicas(page: Browser) -> None:
    """Up to all GPUs; the log shows the arithmetic, and a screen reader announces it."""
    before = replicas(page)
    pull(page, "#load", 0.95)
    page.until(lambda: "held by you" in step(page, 1), "the load is held")
    assert not page.find("#load-varies").is_selected()
    page.until(lambda: replicas(page) > max(before, 8), "replicas are added")
    head, reason = page.text("#log li .head"), page.text("#log li .reason")
    assert re.search(r"\d+ → \d+$", head)
    assert "above the target of 70" in reason
    assert reason in page.text("#announcer")
    pull(page, "#load", 0.4)
    page.until(lambda: replicas(page) < 9, "replicas are removed")


def test_a_fault_is_marked(page: Browser) -> None:
    """Pods lose their values; last-known and simulated values look different from measured ones."""
    # At the target, so that the last known value does not scale.
    pull(page, "#load", 0.4)
    page.until(lambda: "stays at" in step(page, 4), "the HPA is content")
    measured = color(page, "#steps li:nth-child(3) b", "color")
    choose(page, "fault", "down")
    page.until(lambda: source(page) == "last known", "the answer is the last known value")
    known = color(page, "#steps li:nth-child(3) b", "color")
    assert "exporter down" in page.text(".node.faulty")
    page.until(lambda: source(page) != "last known", "the last known value is too old")
    page.until(lambda: "no pod is measured" in step(page, 2), "no pod is measured")
    assert page.text(".slot.ready .number") == "no value"
    assert len({measured, known, color(page, "#steps li:nth-child(3) b", "color")}) == 3
    last = source(page)
    assert last in {"simulated", "error"}
    assert last in page.text("#log li .head")
    page.until(lambda: page.find(".chart .band.source-last-known"), "the chart has marked them")


def test_the_target_and_the_type_change_the_decisions(page: Browser) -> None:
    """Decisions use the new target; the other type uses the other API."""
    target = page.find("#target")
    page.run("arguments[0].focus()", target)
    target.send_keys(Keys.HOME)
    page.until(lambda: "target of 1" in step(page, 4), "the decision has the new target")
    target.send_keys(Keys.END)
    page.until(lambda: "target of 100" in step(page, 4), "the decision has the newer target")
    choose(page, "metricType", "pods")
    page.until(lambda: "custom.metrics.k8s.io" in page.text("#questions"), "the other API")
    assert "no fallback" in page.text("#type-hint")
    choose(page, "metricType", "external")
    page.until(lambda: "external.metrics.k8s.io" in page.text("#questions"), "the first API")


def test_a_wrong_value_is_rejected(page: Browser) -> None:
    """The error names the field and its bounds; a right value is accepted; nothing else is lost."""
    least = page.find("#minReplicas")
    least.send_keys(Keys.CONTROL, "a", Keys.NULL, Keys.BACKSPACE)
    assert page.text("#hpa-error") == "Not changed: minReplicas must be a whole number."
    assert least.get_attribute("aria-invalid") == "true"
    least.send_keys("40")
    page.until(lambda: "from 1 to 12, not 40" in page.text("#hpa-error"), "it is rejected")
    least.send_keys(Keys.CONTROL, "a", Keys.NULL, "2")
    page.until(lambda: page.text("#hpa-error") == "", "it is accepted")
    assert least.get_attribute("aria-invalid") is None
    assert all("422" in error for error in page.errors())


def test_the_keyboard_is_enough(page: Browser) -> None:
    """Tab reaches every control in order, with a visible focus, and keys change values."""
    page.run("document.querySelector('.skip').focus()")
    reached = []
    for _ in range(13):
        active = page.driver.switch_to.active_element
        reached.append(active.get_attribute("id") or active.get_attribute("name") or "skip")
        assert "none" not in str(
            page.run(
                "const e = arguments[0];"
                "return getComputedStyle(e.matches('.choices input') ? e.nextSibling : e)"
                ".outlineStyle",
                active,
            )
        )
        ActionChains(page.driver).send_keys(Keys.TAB).perform()
    controls = "load load-varies fault fault-exporters metricType target minReplicas maxReplicas"
    wanted = ["skip", *controls.split(), "window", "scaleUpPods", "nodes", "log"]
    assert reached == wanted
    page.find("#load").send_keys(Keys.END)
    page.until(lambda: "held by you" in step(page, 1), "the load is held")
    page.find("#load-varies").send_keys(Keys.SPACE)
    page.until(lambda: "varies by itself" in step(page, 1), "the load varies")
    page.find('input[name="fault"]:checked').send_keys(Keys.ARROW_RIGHT)
    page.until(lambda: "exporter down" in page.text("#nodes"), "the exporters are down")


def test_every_field_has_a_label(page: Browser) -> None:
    """A screen reader can name each."""
    unnamed = page.run("""
        return [...document.querySelectorAll("input, select")]
            .filter((e) => ![...e.labels].some((label) => label.textContent.trim()))
            .map((e) => e.outerHTML);
    """)
    assert unnamed == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(page: Browser, scheme: str) -> None:
    """It follows the system, and text is readable in both."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.emulate("setEmulatedMedia", features=features)
    try:
        card = color(page, ".card", "backgroundColor")
        assert (luminance(card) < 0.1) == (scheme == "dark")
        texts: Mapping[str, str] = {
            "h1": "color",
            "#steps .name": "color",
            "#steps .note": "color",
            ".badge": "color",
            ".chart .tick": "fill",
            ".chart .last": "fill",
            ".hint": "color",
            ".error": "color",
        }
        for css, of in texts.items():
            assert contrast(color(page, css, of), card) >= 4.5, css
    finally:
        page.emulate("setEmulatedMedia", features=[])


@pytest.mark.parametrize("width", [360, 768])
def test_it_fits_a_phone(page: Browser, width: int) -> None:
    """There is no horizontal scrolling, and controls are large enough for a finger."""
    page.emulate(
        "setDeviceMetricsOverride", width=width, height=740, deviceScaleFactor=2, mobile=True
    )
    try:
        page.until(
            lambda: page.run("return document.querySelector('.chart svg').clientWidth") != 0,
            "the charts have their new width",
        )
        assert page.run("return document.documentElement.scrollWidth") == width
        wide = page.run("""
            return [...document.querySelectorAll("main *, header *")]
                .filter((e) => !e.closest(".hidden, .skip, svg") && e.getClientRects().length)
                .filter((e) => e.getBoundingClientRect().right > innerWidth + 1)
                .map((e) => e.outerHTML.slice(0, 80));
        """)
        assert wide == []
        low = page.run("""
            return [...document.querySelectorAll("input, select")]
                .filter((e) => e.type !== "checkbox" && e.getClientRects().length)
                .filter((e) => e.getBoundingClientRect().height < 24)
                .map((e) => e.outerHTML);
        """)
        assert low == []
    finally:
        page.emulate("clearDeviceMetricsOverride")


def test_it_says_when_the_demo_is_gone_and_finds_the_next_one(page: Browser) -> None:
    """A demo that ended, one that was killed, and one restarted on the same port."""
    port = unused_port()
    first = page.driver.current_window_handle
    page.driver.switch_to.new_window("tab")
    try:
        with demo_page("--duration", "6s", port=port) as (url, process):
            page.driver.get(url)
            page.until(lambda: state(page) == "ended", "it has ended")
            assert "The demo has ended. The HPA requested the metric " in page.text("#notice")
            assert not page.find("#load").is_enabled()
            process.wait()
        with demo_page("--signal", "queue", port=port) as (_, process):
            page.until(lambda: state(page) == "live", "it is live again")
            assert page.text("#notice") == ""
            assert page.find("#load").is_enabled()
            assert page.text("h1") == "The queue scales a Deployment"
            assert not page.find("#fault-form").is_displayed()
            process.send_signal(signal.SIGKILL)
            page.until(lambda: state(page) == "lost", "the connection is lost")
            assert page.text("#notice") == "No connection to the demo; trying again."
    finally:
        page.driver.close()
        page.driver.switch_to.window(first)
    # Browser errors about lost connections are expected.
    page.errors()
