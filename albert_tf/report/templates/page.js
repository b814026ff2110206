"use strict";

// Lists of examples: filters, search, pages. Texts are set as text, never as HTML.

const PAGE_SIZE = 25;
const SPAN_LABELS = { true: "✓", 1: "1", 2: "2", 3: "3" };
const SEARCH_PAUSE = 150; // milliseconds without a key before a search

function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

// Nodes of a passage in which spans are marked; offsets count characters, not UTF-16 units.
function markedPassage(text, spans) {
  const characters = Array.from(text);
  const cuts = new Set([0, characters.length]);
  for (const [start, end] of spans) cuts.add(start).add(end);
  const sorted = Array.from(cuts).sort((a, b) => a - b);
  const nodes = [];
  for (let i = 0; i + 1 < sorted.length; i++) {
    const [from, to] = [sorted[i], sorted[i + 1]];
    const part = characters.slice(from, to).join("");
    const covering = spans.filter(([start, end]) => start <= from && end >= to);
    if (!covering.length) {
      nodes.push(part);
      continue;
    }
    const kinds = Array.from(new Set(covering.map(([, , kind]) => kind)));
    const mark = element("mark", kinds.map((kind) => `span-${kind}`).join(" "), part);
    const ending = kinds.filter((kind) => covering.some(([, end, k]) => k === kind && end === to));
    const labels = ending.filter((kind) => kind in SPAN_LABELS).map((kind) => SPAN_LABELS[kind]);
    if (labels.length) mark.append(element("sup", "", labels.join(" ")));
    nodes.push(mark);
  }
  return nodes;
}

function examplesTable(columns, rows) {
  const body = element("tbody", "");
  for (const row of rows) {
    const cells = row.map((cell, index) => {
      const made = element(index ? "td" : "th", "", cell);
      if (!index) made.scope = "row";
      return made;
    });
    body.append(element("tr", "", ...cells));
  }
  const table = element("table", "", body);
  if (columns.length) {
    const headers = columns.map((column) => {
      const made = element("th", "", column);
      made.scope = "col";
      return made;
    });
    table.prepend(element("thead", "", element("tr", "", ...headers)));
  }
  return element("div", "table", table);
}

class ExampleList {
  constructor(root) {
    this.root = root;
    this.block = JSON.parse(document.getElementById(root.dataset.source).textContent);
    this.form = root.querySelector("form");
    this.status = root.querySelector(".count");
    this.list = root.querySelector(".items");
    this.pageInput = root.querySelector(".page");
    this.previous = root.querySelector(".previous");
    this.next = root.querySelector(".next");
    this.searchTexts = null; // lower-case texts of the examples, built at the first search
    this.shown = [];
    this.page = 1;
    this.listen();
    this.filter();
  }

  listen() {
    let timer = 0;
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      clearTimeout(timer);
      this.filter();
    });
    this.form.addEventListener("change", () => {
      clearTimeout(timer);
      this.filter();
    });
    this.form.addEventListener("input", (event) => {
      if (event.target.type !== "search") return;
      clearTimeout(timer);
      timer = setTimeout(() => this.filter(), SEARCH_PAUSE);
    });
    this.previous.addEventListener("click", () => this.show(this.page - 1));
    this.next.addEventListener("click", () => this.show(this.page + 1));
    this.pageInput.addEventListener("change", () => this.show(Number(this.pageInput.value)));
    this.root.querySelector(".open").addEventListener("click", () => this.openAll());
    this.list.addEventListener("toggle", (event) => this.fill(event.target), true);
    window.addEventListener("beforeprint", () => this.openAll());
  }

  passageOf(item) {
    return item.passage === undefined ? null : this.block.passages[item.passage];
  }

  searchTextOf(index) {
    if (!this.searchTexts) {
      const passages = this.block.passages.map((passage) => passage.toLowerCase());
      this.searchTexts = this.block.items.map((item) => ({
        own: [item.title, ...(item.facts || []), ...(item.texts || []), ...(item.rows || [])]
          .flat()
          .join("\n")
          .toLowerCase(),
        passage: item.passage === undefined ? "" : passages[item.passage],
      }));
    }
    return this.searchTexts[index];
  }

  filter() {
    const values = new FormData(this.form);
    const states = new Set(values.getAll("state"));
    const chosen = Object.keys(this.block.filters).map((_, i) => values.get(`filter-${i}`));
    const words = values.get("search").toLowerCase().split(/\s+/).filter(Boolean);
    this.shown = [];
    this.block.items.forEach((item, index) => {
      if (this.block.states.length && !states.has(item.state)) return;
      if (chosen.some((value, i) => value && item.groups[i] !== value)) return;
      if (words.length) {
        const text = this.searchTextOf(index);
        if (!words.every((word) => text.own.includes(word) || text.passage.includes(word))) return;
      }
      this.shown.push(item);
    });
    this.show(1);
  }

  show(page) {
    const pages = Math.max(1, Math.ceil(this.shown.length / PAGE_SIZE));
    this.page = Math.min(Math.max(1, Math.floor(page) || 1), pages);
    const first = (this.page - 1) * PAGE_SIZE;
    const items = this.shown.slice(first, first + PAGE_SIZE);
    this.list.start = first + 1;
    this.list.replaceChildren(...items.map((item) => this.line(item)));
    this.pageInput.value = this.page;
    this.pageInput.max = pages;
    this.root.querySelector(".pages").textContent = pages.toLocaleString("en");
    this.previous.disabled = this.page === 1;
    this.next.disabled = this.page === pages;
    const all = this.block.items.length.toLocaleString("en");
    this.status.textContent = items.length
      ? `${(first + 1).toLocaleString("en")} to ${(first + items.length).toLocaleString("en")} ` +
        `of ${this.shown.length.toLocaleString("en")} matching, ${all} in total`
      : `None of ${all} match.`;
  }

  // A line of the list; its details are made when it is opened.
  line(item) {
    const summary = element("summary", "");
    if (item.state) {
      summary.append(element("span", `state ${item.state.split(" ")[0]}`, item.state), " ");
    }
    summary.append(element("span", "title", item.title));
    for (const fact of item.facts || []) summary.append(" ", element("span", "fact", fact));
    const details = element("details", "", summary);
    details.item = item;
    return element("li", "", details);
  }

  fill(details) {
    const item = details.item;
    if (!item || details.children.length > 1) return;
    const body = element("div", "body");
    for (const [name, text] of item.texts || []) {
      body.append(element("p", "text", element("b", "", name), " ", text));
    }
    const passage = this.passageOf(item);
    if (passage !== null) {
      body.append(element("p", "passage", ...markedPassage(passage, item.spans || [])));
    }
    if (item.rows) body.append(examplesTable(this.block.columns, item.rows));
    details.append(body);
  }

  openAll() {
    for (const details of this.list.querySelectorAll("details")) {
      this.fill(details);
      details.open = true;
    }
  }
}

for (const root of document.querySelectorAll(".examples")) new ExampleList(root);
