# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Opens the page of write_sample in headless Chromium and uses it: pointer, keyboard, light and dark, a phone's width.

    python3 tests/report/check_page.py WRITE_SAMPLE [PAGE.html SCREENSHOT.png]

With a page, takes a picture of it instead. Skipped, exit code 77, where there is no chromium.
"""

import base64
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile


class Browser:
    """Chromium by its debugging pipe: messages end in NUL, file descriptors 3 (to it) and 4 (from it)."""

    def __init__(self, program, profile):
        to_read, self.to_write = os.pipe()
        self.from_read, from_write = os.pipe()

        def arrange():
            a, b = os.dup(to_read), os.dup(from_write)  # 3 and 4 may be these
            os.dup2(a, 3)
            os.dup2(b, 4)

        self.process = subprocess.Popen(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--user-data-dir=" + profile, "--remote-debugging-pipe", "about:blank"],
            preexec_fn=arrange, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(from_write)
        self.buffer, self.number, self.session, self.events = b"", 0, None, []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(t["targetId"] for t in targets if t["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")

    def read(self):
        while b"\0" not in self.buffer:
            part = os.read(self.from_read, 1 << 20)
            if not part:
                raise EOFError("chromium has ended")
            self.buffer += part
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to_write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == self.number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self.events.append(answer)

    def open(self, path):
        self.events.clear()
        self.call("Page.navigate", url=pathlib.Path(path).as_uri())
        while not any(e.get("method") == "Page.loadEventFired" for e in self.events):
            self.events.append(self.read())

    def value(self, script):
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def key(self, name):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name,
                      windowsVirtualKeyCode={"Tab": 9, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39,
                                             "ArrowDown": 40, "End": 35, "Home": 36, " ": 32}[name])

    def size(self, width, height, mobile=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=mobile)

    def scheme(self, name):
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def screenshot(self, path):
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=False)["data"]
        pathlib.Path(path).write_bytes(base64.b64decode(data))

    def complaints(self):
        """Errors in the console, and whatever was asked of anyone but the file itself."""
        found = []
        for event in self.events:
            method, parameters = event.get("method"), event.get("params", {})
            if method in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
                found.append(parameters)
            if method == "Network.requestWillBeSent" and parameters["request"]["url"].split(":")[0] not in ("file", "data"):
                found.append(parameters["request"]["url"])
        return found

    def close(self):
        self.process.terminate()
        self.process.wait()


def check(browser, folder):
    sample = json.loads((folder / "sample.json").read_bytes())
    heat = sample["pictures"][0]
    rows, columns = len(heat["rows"]), len(heat["columns"])
    output = "document.getElementById('o0').textContent"
    browser.size(1200, 900)
    browser.open(folder / "sample.html")
    assert browser.value("document.title") == 'Sample <b>& "report"</b>', browser.value("document.title")
    assert browser.value("document.querySelectorAll('svg').length") >= 6

    def box(figure, row, column):
        return browser.value(
            "(() => { const s = document.querySelectorAll('.plot svg')[%d], d = s.dataset, b = s.getBoundingClientRect();"
            "return [b.left + Number(d.left) + d.cw * (%d + .5), b.top + Number(d.top) + d.ch * (%d + .5)] })()"
            % (figure, column, rows - 1 - row))

    def shown(view, row, column):
        def number(x):
            return "\u2013" if x is None else "%.4g" % float("%.5g" % x)
        values = [heat["views"][view]["values"][p][row][column] for p in range(2)]
        return [float(number(v)) if v is not None else None for v in values]

    def told():
        """Layer, and the numbers at the end of the two panels' names."""
        text = browser.value(output)
        layer = text.split("layer ")[1].split(",")[0]
        first, second = text.split("; wrong: ")
        read = lambda word: None if word == "\u2013" else float(word)
        return layer, [read(first.split(" ")[-1]), read(second.split(" ")[-1])], text

    def expect(view, row, column):
        layer, values, text = told()
        assert layer == heat["rows"][row], text
        assert "position %d " % (heat["first_column"] + column) in text, text
        for value, wanted in zip(values, shown(view, row, column)):
            assert (value is None) == (wanted is None), (text, wanted)
            assert value is None or abs(value - wanted) <= 1e-3 * abs(wanted) + 1e-12, (text, wanted)
        assert heat["views"][view]["name"] in text
        for figure in range(2):  # the cursor is around that cell in both panels
            left, top, right, bottom = browser.value(
                "(() => { const r = document.querySelectorAll('.cursor .inner')[%d].getBoundingClientRect();"
                "return [r.left, r.top, r.right, r.bottom] })()" % figure)
            x, y = box(figure, row, column)
            assert left < x < right and top < y < bottom and right - left < 40 and bottom - top < 40, (x, y, left, top)

    # The pointer.
    for figure, row, column in ((0, 0, 0), (1, 3, 12), (1, 0, 5), (0, 2, columns - 1)):
        browser.value("document.querySelectorAll('.plot .scroll')[%d].scrollIntoView({block: 'center'})" % figure)
        x, y = box(figure, row, column)
        browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        expect(0, row, column)
    assert "\u2423Boston" in (browser.value("report.pictures[0].columns[12]"))

    # The keyboard: to the first choice of views, to the plot, and about.
    browser.value("document.activeElement.blur(); window.scrollTo(0, 0)")
    browser.key("Tab")
    assert browser.value("document.activeElement.type") == "radio"
    browser.key("Tab")
    while browser.value("document.activeElement.className") != "plot":
        browser.key("Tab")
    assert browser.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert browser.value("document.activeElement.getAttribute('aria-label')")
    assert browser.value(output.replace("textContent", "getAttribute('aria-live')")) == "polite"
    browser.key("Home")
    for name in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowDown"):
        browser.key(name)
    expect(0, 0, 0)
    for name in ("ArrowUp", "ArrowRight", "ArrowRight", "ArrowLeft"):
        browser.key(name)
    expect(0, 1, 1)
    browser.key("End")
    expect(0, 1, columns - 1)
    assert browser.value("document.querySelectorAll('.plot .cursor')[0].getAttribute('visibility')") is None
    assert browser.value("document.activeElement.className") == "plot", "the keys have moved the focus"
    browser.value("document.querySelectorAll('input')[1].click()")
    expect(1, 1, columns - 1)
    assert browser.value("document.querySelectorAll('.plot g[data-view=\"0\"]:not(.off)').length") == 1  # of the grid

    # A chart.
    browser.value("document.querySelectorAll('.plot')[1].focus()")
    browser.key("End")
    text = browser.value("document.getElementById('o1').textContent")
    assert text.startswith("layer 7: ") and "0.71 [0.66, 0.76]" in text and "plain 0.11" in text, text

    # Light and dark differ, and both are legible.
    def colors():
        return browser.value("[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor,"
                             "getComputedStyle(document.querySelector('.plot text')).fill]")

    def bright(color):
        return sum(int(x) for x in color[color.index("(") + 1:-1].split(",")[:3]) / 3
    browser.scheme("light")
    light = colors()
    browser.scheme("dark")
    dark = colors()
    assert bright(light[1]) > 200 and bright(light[0]) < 80 and bright(light[2]) < 80, light
    assert bright(dark[1]) < 60 and bright(dark[0]) > 180 and bright(dark[2]) > 180, dark

    # A phone: nothing is wider than it, wide pictures scroll by themselves, and keys keep the cursor in sight.
    for width in (320, 390):
        browser.size(width, 700, mobile=True)
        assert browser.value("document.documentElement.scrollWidth") <= width
        assert browser.value("document.querySelector('.plot .scroll').scrollWidth") > width - 40
        browser.value("document.querySelectorAll('.plot')[0].focus()")
        browser.key("End")
        x = browser.value("(() => { const r = document.querySelector('.cursor .inner').getBoundingClientRect();"
                          "return [r.left, r.right] })()")
        assert 0 <= x[0] and x[1] <= width, x

    complaints = browser.complaints()
    assert not complaints, complaints


program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if program is None:
    print("Skipped: this test needs the Debian package chromium")
    sys.exit(77)
with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
    browser = Browser(program, name + "/profile")
    try:
        if len(sys.argv) == 4:
            browser.size(1180, 760)
            browser.open(os.path.abspath(sys.argv[2]))
            browser.screenshot(sys.argv[3])
        else:
            subprocess.run([sys.argv[1], name], check=True)
            check(browser, pathlib.Path(name))
            print("The page works by pointer and keyboard, light and dark, and on a phone")
    finally:
        browser.close()
