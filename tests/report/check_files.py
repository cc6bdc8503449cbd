# SPDX-FileCopyrightText: 2026 The activation_trace authors
# SPDX-License-Identifier: Apache-2.0
"""Reads the files of write_sample with parsers that are not ours: expat, html.parser, json and csv.

    python3 tests/report/check_files.py WRITE_SAMPLE
"""

import csv
import html.parser
import json
import math
import pathlib
import subprocess
import sys
import tempfile
import xml.parsers.expat


class Page(html.parser.HTMLParser):
    """Elements must be closed in the order in which they were opened."""

    VOID = {"meta", "link", "input"}

    def __init__(self):
        super().__init__()
        self.open, self.scripts, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        assert len({name for name, _ in attributes}) == len(attributes), (tag, attributes)
        for name, value in attributes:
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "xlink:href"):
                assert value == "data:,", (tag, value)
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open, self.getpos())
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        else:
            self.text.append(data)


def check_svg(text):
    texts, elements = [], []
    parser = xml.parsers.expat.ParserCreate()
    parser.StartElementHandler = lambda name, attributes: elements.append(name)
    parser.CharacterDataHandler = texts.append
    parser.Parse(text, True)
    assert set(elements) <= {"svg", "style", "g", "path", "rect", "text", "polygon", "circle"}, set(elements)
    joined = "".join(texts)
    for token in ("</script><script>document.title='owned'</script>", "\u2423Boston", "\\n\\t\\r", "\\xe2\\x82",
                  "\\u{202e}gnirts", "\u6f22\u5b57", "\\x00\\x1b[31m"):
        assert token[:17] in joined, token
    assert not any(ord(c) < 32 and c != "\n" for c in joined)


def check_numbers(report, rows):
    wanted = []
    for picture in report["pictures"]:
        if picture["kind"] == "heat_map":
            for view in picture["views"]:
                for panel in view["values"]:
                    assert len(panel) == len(picture["rows"])
                    wanted += [x for row in panel for x in row]
        elif picture["kind"] == "line_chart":
            for curve in picture["curves"]:
                wanted += curve["y"]
        else:
            for step in picture["steps"]:
                for c in [step["chosen"]] + step["kept"]:
                    wanted += [c["log_prob"], c["entropy"], c["score"]]
    found = [float(r["value"]) if r["value"] else None for r in rows]
    assert found == wanted, "CSV and JSON differ"
    heat = report["pictures"][0]["views"]
    columns = len(report["pictures"][0]["columns"])
    for p in range(2):
        for i in range(4 * columns):
            value = heat[0]["values"][p][i // columns][i % columns]
            if (p, i) == (1, 5):
                assert value is None
            else:
                assert math.isclose(value, 4 * math.sin(0.37 * i + p), abs_tol=1e-12)
            assert math.isclose(heat[1]["values"][p][i // columns][i % columns], 10 ** (-0.12 * i), rel_tol=1e-12)


with tempfile.TemporaryDirectory() as name:
    subprocess.run([sys.argv[1], name], check=True)
    folder = pathlib.Path(name)
    check_svg((folder / "sample.svg").read_bytes())
    report = json.loads((folder / "sample.json").read_bytes())
    with open(folder / "sample.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, strict=True))
    check_numbers(report, rows)
    assert rows[0]["column_number"] == "3" and report["pictures"][0]["first_column"] == 3
    assert {r["column"] for r in rows} >= {"'\n\t\r", "a,b;\"c\"", "\ufffd", "'=HYPERLINK(\"http://x\",\"y\")", "'-1+1"}
    for row in rows:  # nothing is a formula: what begins like one is a number
        for cell in row.values():
            assert cell[:1] not in tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20") or cell[0] == "-" and float(cell) <= 0, cell

    page = Page()
    page.feed((folder / "sample.html").read_text(encoding="utf-8", errors="strict"))
    page.close()
    assert page.open == [], page.open
    assert len(page.scripts) == 2, "a token has begun or ended a script"
    shown = json.loads(page.scripts[0])
    assert shown["pictures"][0]["columns"][6] == "\\xe2\\x82" and shown["pictures"][0]["columns"][12] == "\u2423Boston"
    assert "\u202e" not in "".join(page.text) and "\x1b" not in "".join(page.text)
    assert any("Sample <b>& \"report\"</b>" in text for text in page.text)
print("SVG, HTML, JSON and CSV are well-formed, and say the same")
