// SPDX-FileCopyrightText: 2026 The activation_trace authors
// SPDX-License-Identifier: Apache-2.0

// What to_html() puts into every page, beside picture_style.
inline constexpr std::string_view page_style = R"css(
:root { color-scheme: light dark; }
body { margin: 0; color: #1b1f24; background: #fff; font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 16px; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .3rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; } dd { margin: 0; } dt { opacity: .75; }
.views { margin: .3rem 0; display: flex; flex-wrap: wrap; gap: .2rem 1rem; }
p { margin: .2rem 0; } .off { display: none; } .hint { opacity: .75; font-size: .85rem; }
.plot { display: flex; flex-wrap: wrap; gap: 8px; border-radius: 4px; }
.scroll { overflow-x: auto; max-width: 100%; min-width: 0; } .scroll svg { display: block; }
.scroll svg.chart { width: 100%; min-width: 520px; max-width: 820px; height: auto; }
:focus-visible { outline: 3px solid #4c8dff; outline-offset: 2px; }
section:hover output, section:focus-within output { position: sticky; bottom: 0; }
output { display: block; min-height: 1.5em; padding: .3rem .6rem; margin: .4rem 0;
  background: #fff; border-left: 4px solid #4c8dff; font-variant-numeric: tabular-nums; }
.cursor { fill: none; pointer-events: none; } .cursor .outer { stroke: #000; stroke-width: 4; }
.cursor .inner { stroke: #fff; stroke-width: 2; } .cursor .line { stroke: #4c8dff; stroke-width: 2; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .15rem .6rem; border-top: 1px solid #8884; white-space: nowrap; vertical-align: top; }
td.n { text-align: right; } td.kept { white-space: normal; min-width: 20rem; }
.chip { display: inline-block; white-space: nowrap; border-left: 6px solid; padding: 0 .5rem 0 .3rem; margin: 0 .4rem .2rem 0; }
.chip small { opacity: .8; } .changed { color: #b04a00; font-weight: 600; }
@media (prefers-color-scheme: dark) { body, output { color: #e6e9ee; background: #14171c; } .changed { color: #f0883e; } }
)css";

inline constexpr std::string_view page_script = R"js(
"use strict";
const report = JSON.parse(document.getElementById("report").textContent);
const number = x => x === null ? "\u2013" : String(Number(x.toPrecision(4)));
for (const section of document.querySelectorAll("section[data-picture]")) {
  const picture = report.pictures[section.dataset.picture];
  const map = picture.kind === "heat_map";
  const plot = section.querySelector(".plot"), output = section.querySelector("output");
  const figures = [...plot.querySelectorAll("svg")];
  const rows = map ? picture.rows.length : 1, columns = map ? picture.columns.length : picture.x.length;
  let row = picture.marked_row ?? rows - 1, column = 0, view = 0;
  const half = picture.bin_width / 2;
  const range = x => half ? `${number(x - half)} to ${number(x + half)}` : number(x);
  const describe = () => map
    ? `${picture.column_axis} ${picture.first_column + column} \u201c${picture.columns[column]}\u201d, ${picture.row_axis} ${picture.rows[row]}, ` +
      `${picture.views[view].name}: ` + picture.panels.map((name, p) =>
        `${name} ${number(picture.views[view].values[p][row][column])}`).join("; ")
    : `${picture.x_axis} ${range(picture.x[column])}: ` + picture.curves.map(c => `${c.name} ${number(c.y[column])}` +
        (c.low ? ` [${number(c.low[column])}, ${number(c.high[column])}]` : "")).join("; ");
  const place = d => map
    ? { x: d.left + d.cw * column, y: d.top + d.ch * (rows - 1 - row), width: d.cw, height: d.ch }
    : { x: d.first + (d.last - d.first) * (picture.x[column] - picture.x[0]) / (picture.x[columns - 1] - picture.x[0] || 1),
        y: d.top, width: 0, height: d.height };
  const data = svg => Object.fromEntries(Object.entries(svg.dataset).map(([k, v]) => [k, Number(v)]));
  const move = (newRow, newColumn) => {
    row = Math.min(rows - 1, Math.max(0, newRow));
    column = Math.min(columns - 1, Math.max(0, newColumn));
    for (const svg of figures) {
      const at = place(data(svg)), scroll = svg.parentElement;
      for (const shape of svg.querySelectorAll(".cursor rect"))
        for (const key in at) shape.setAttribute(key, at[key]);
      svg.querySelector(".cursor").removeAttribute("visibility");
      if (at.x < scroll.scrollLeft || at.x + at.width > scroll.scrollLeft + scroll.clientWidth)
        scroll.scrollLeft = at.x - scroll.clientWidth / 2;
    }
    output.textContent = describe();
  };
  plot.addEventListener("keydown", event => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, 0], ArrowDown: [-1, 0],
                   Home: [0, -columns], End: [0, columns] }[event.key];
    if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    move(row + step[0], column + step[1]);
  });
  plot.addEventListener("focus", () => move(row, column));
  for (const svg of figures) {
    const point = event => {
      const d = data(svg), box = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / box.width;
      const x = (event.clientX - box.left) * scale - d.left, y = (event.clientY - box.top) * scale - d.top;
      if (x < 0 || y < 0) return;
      if (!map) {
        const wanted = picture.x[0] +
          (x + d.left - d.first) / (d.last - d.first || 1) * (picture.x[columns - 1] - picture.x[0]);
        const far = picture.x.map(value => Math.abs(value - wanted));
        move(0, far.indexOf(Math.min(...far)));
      } else if (x < d.cw * columns && y < d.ch * rows) {
        move(rows - 1 - Math.floor(y / d.ch), Math.floor(x / d.cw));
      }
    };
    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
  }
  for (const choice of section.querySelectorAll("input"))
    choice.addEventListener("change", () => {
      view = Number(choice.value);
      for (const part of section.querySelectorAll("[data-view]"))
        part.classList.toggle("off", Number(part.dataset.view) !== view);
      move(row, column);
    });
}
)js";
