// The portal works without this file: it only saves clicks.
"use strict";

// Copy buttons are there only where there is a clipboard.
function copyButtons() {
  if (!navigator.clipboard) return;
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.nextElementSibling.textContent = " Copied.";
    });
  }
}

// Of several parts of a form only the one that is chosen is shown.
function choices() {
  for (const select of document.querySelectorAll("[data-chooses]")) {
    const name = select.dataset.chooses;
    const show = () => {
      for (const part of document.querySelectorAll(`[data-choice^="${name} "]`)) {
        part.hidden = !part.dataset.choice.split(" ").slice(1).includes(select.value);
      }
    };
    select.addEventListener("change", show);
    show();
  }
}

const mostRows = 200;

// Live deliveries: the newest row goes to the top, and takes the place of the one of the same delivery.
function live() {
  const line = document.querySelector("[data-live]");
  if (!line || !window.EventSource) return;
  const said = line.querySelector("[role=status]"), button = line.querySelector("button"), rows = document.getElementById("rows");
  let source, arrived = 0;
  const say = (text) => { if (said.textContent !== text) said.textContent = text; };
  const open = () => {
    source = new EventSource(line.dataset.live);
    source.addEventListener("open", () => say("Live."));
    source.addEventListener("attempt", (event) => { put(event.data); say(`Live: ${++arrived} new.`); });
    source.addEventListener("error", () => say("The connection is lost; trying again."));
  };
  const put = (html) => {
    const made = document.createElement("template");
    made.innerHTML = html;
    const row = made.content.querySelector("tr");
    if (!row) return;
    rows.querySelector(`[data-delivery="${CSS.escape(row.dataset.delivery)}"]`)?.remove();
    row.classList.add("new");
    rows.prepend(row);
    document.getElementById("none")?.remove();
    while (rows.children.length > mostRows) rows.lastElementChild.remove();
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    const pause = button.getAttribute("aria-pressed") === "false";
    button.setAttribute("aria-pressed", String(pause));
    if (pause) { source.close(); say("Paused."); } else open();
  });
  open();
  window.addEventListener("pagehide", () => source.close());
}

// Charts are drawn from the table beside them, which says the same without a script.
function charts() {
  for (const box of document.querySelectorAll("[data-charts]")) {
    if (!window.uPlot) return;
    const rows = [...document.querySelectorAll(`#${box.dataset.charts} tbody tr`)].map((row) => {
      const numbers = [...row.querySelectorAll("td")].map((cell) => (cell.textContent === "" ? null : Number(cell.textContent)));
      return { at: Date.parse(row.querySelector("time").dateTime) / 1000, numbers, any: numbers[0] + numbers[1] > 0 };
    });
    box.hidden = false;
    const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const column = (i) => rows.map((row) => (row.any ? row.numbers[i] : i < 2 ? 0 : null));
    const draw = (name, series, columns) => {
      const at = box.querySelector(`[data-chart="${name}"]`);
      const iso = (seconds) => new Date(seconds * 1000).toISOString();
      const tick = (seconds) => (iso(seconds).slice(11, 16) === "00:00" ? iso(seconds).slice(5, 10) : iso(seconds).slice(11, 16));
      const axis = { stroke: colour("--dim"), grid: { stroke: colour("--line"), width: 0.5 }, ticks: { stroke: colour("--line"), width: 0.5 } };
      const size = () => ({ width: Math.max(260, at.clientWidth), height: 200 });
      const options = {
        ...size(), tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"), axes: [{ ...axis, values: (plot, splits) => splits.map(tick) }, { ...axis, size: 60 }],
        scales: { y: { range: (plot, low, high) => [0, Math.max(1, high * 1.1)] } },
        series: [{ label: "UTC", value: (plot, at) => (at == null ? "--" : iso(at).slice(0, 16).replace("T", " ")) }, ...series.map(([label, stroke, dash]) => ({ label, stroke: colour(stroke), width: 2, dash, spanGaps: false, points: { show: true, size: 5 } }))],
      };
      const plot = new uPlot(options, [rows.map((row) => row.at), ...columns.map(column)], at);
      new ResizeObserver(() => plot.setSize(size())).observe(at);
    };
    draw("counts", [["succeeded", "--good"], ["failed", "--bad", [6, 4]]], [0, 1]);
    draw("latency", [["p50", "--good"], ["p95", "--link", [6, 4]], ["p99", "--warn", [2, 3]]], [3, 4, 5]);
  }
}

copyButtons();
charts();
choices();
live();
