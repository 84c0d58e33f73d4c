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

copyButtons();
choices();
live();
