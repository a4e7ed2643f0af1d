// Two columns of boxes in order of execution: sections unfold into blocks, blocks into parts.

const SIGNS = { add: "+", mul: "×", cat: "∪", contract: "@", attention: "@", write: "w" };
const JOIN_WORDS = { add: "sum", mul: "product", cat: "joined", contract: "contraction", attention: "attention", write: "written" };
const INLINE = 3; // parts that a single block shows without being unfolded

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "on") Object.entries(value).forEach(([event, run]) => made.addEventListener(event, run));
    else if (value !== false && value !== null) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

const short = (n) => {
  for (const [factor, unit] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]])
    if (n >= factor) return `${(n / factor).toFixed(n / factor >= 99.95 ? 0 : 1)} ${unit}`;
  return String(n);
};
const shapeWords = (shape) => shape.join(" × ") || "scalar";
const sizeOf = (blocks) => {
  const seen = new Set(blocks.flatMap((block) => block.parts.flatMap((part) => part.tensors)));
  return [...seen].reduce((sum, tensor) => sum + count(tensor.shape), 0);
};

class Graph {
  constructor(container, onChoose) {
    this.container = container;
    this.onChoose = onChoose;
    this.chosen = null;
    for (const side of ["teacher", "student"]) {
      const total = short(sizeOf(models[side].blocks));
      container.append(element("h3", { class: side }, element("b", {}, side), ` ${total} ${models[side].name}`));
    }
    this.rows().forEach(([theirs, ours], row) => {
      this.cell(theirs, "teacher", row + 2);
      this.cell(ours, "student", row + 2);
    });
    for (const side of ["teacher", "student"]) {
      const cells = [...container.querySelectorAll(`.cell.${side}`)];
      let next = Infinity; // the section below; the stream goes on to it where it reads the one above
      for (const cell of cells.reverse()) {
        const here = cell.firstChild ? Number(cell.dataset.section) : null;
        const above = here === null ? next - 1 : here;
        cell.classList.toggle("end", !models[side].sections[next]?.reads.includes(above));
        if (here !== null) next = here;
      }
    }
    this.links = new Links(container, this);
    new ResizeObserver(() => this.links.redraw()).observe(container);
    container.addEventListener("keydown", (event) => this.onKey(event));
  }

  /** Sections of both models, row by row: matched ones stand side by side. */
  rows() {
    const votes = new Map();
    for (const pairs of partPairs.values()) {
      const [from, to] = [pairs[0].from.block.section.index, pairs[0].to.block.section.index];
      const own = votes.get(to) || votes.set(to, new Map()).get(to);
      own.set(from, (own.get(from) || 0) + pairs.length);
    }
    const rows = [];
    const alone = { teacher: [], student: [] }; // what has no partner stands side by side
    const flush = () => {
      while (alone.teacher.length || alone.student.length) rows.push([alone.teacher.shift() || null, alone.student.shift() || null]);
    };
    let next = 0;
    for (const ours of student.sections) {
      const found = [...(votes.get(ours.index) || [])].sort((a, b) => b[1] - a[1])[0];
      if (found && found[0] >= next) {
        while (next < found[0]) alone.teacher.push(teacher.sections[next++]);
        flush();
        rows.push([teacher.sections[next++], ours]);
      } else alone.student.push(ours);
    }
    alone.teacher.push(...teacher.sections.slice(next));
    flush();
    return rows;
  }

  cell(section, side, row) {
    const cell = element("div", { class: `cell ${side}`, style: `grid-row:${row}` });
    if (section) {
      cell.dataset.section = section.index;
      cell.append(this.card(section));
    }
    this.container.append(cell);
  }

  card(section) {
    const [block] = section.blocks;
    const card = element("div", { class: models[section.side].connected ? "card stream" : "card" });
    section.element = card;
    const far = section.reads.filter((number) => number >= 0 && number !== section.index - 1);
    if (far.length) card.append(element("div", { class: "reads" }, `reads ${far.map((number) => nameOf(models[section.side].sections[number])).join(", ")}`));
    const parts = section.blocks.length === 1 ? block.parts.length : Infinity;
    if (parts <= INLINE) {
      block.open = section.open = section.inline = true;
      card.append(this.parts(block));
      block.element = card;
      return card;
    }
    const name = section.stage || block.path || "(top level)";
    const times = section.blocks.length > 1 || section.stage ? `×${section.blocks.length}` : `${parts} parts`;
    const head = element(
      "button",
      { type: "button", class: "head", "aria-expanded": "false", title: name, on: { click: () => this.toggleSection(section) } },
      element("span", { class: "name" }, name),
      element("span", { class: "times" }, times),
      element("span", { class: "count" }, short(sizeOf(section.blocks))),
    );
    section.head = head;
    section.ticks = this.ticks(section);
    section.list = element("div", { class: "blocks", hidden: true });
    card.append(head, section.ticks, section.list);
    return card;
  }

  /** A folded stage: one line per block, to scale, in the colour of what became of it. */
  ticks(section) {
    const blocks = section.blocks;
    const height = Math.min(168, Math.max(12, blocks.length * 9));
    const each = height / blocks.length;
    const made = svg("svg", { class: "ticks", height, preserveAspectRatio: "none", viewBox: `0 0 100 ${height}`, "aria-hidden": "true" });
    for (let start = 0; start < blocks.length; ) {
      const fate = fateOfBlock(blocks[start]);
      let end = start + 1;
      while (each < 2 && end < blocks.length && fateOfBlock(blocks[end]) === fate) end += 1;
      const gap = each < 2 ? 0 : Math.min(3, each * 0.4);
      const place = { y: start * each + gap / 2, height: Math.max(0.5, (end - start) * each - gap) };
      const kept = fate === "partly" ? 100 * Math.min(0.9, Math.max(0.1, keptShare(blocks[start]))) : 0; // both can be seen
      made.append(svg("rect", { x: 0, width: 100 - kept, ...place, class: kept ? "copied" : fate }));
      if (kept) made.append(svg("rect", { x: 100 - kept, width: kept, ...place, class: "kept" }));
      start = end;
    }
    return element("div", { class: "tickbox", on: { click: () => this.toggleSection(section) } }, made);
  }

  toggleSection(section, open = !section.open) {
    if (section.inline || section.open === open) return;
    section.open = open;
    section.head.setAttribute("aria-expanded", open);
    section.ticks.hidden = open;
    section.list.hidden = !open;
    if (open && !section.list.firstChild) {
      if (section.blocks.length === 1) {
        const [block] = section.blocks;
        block.open = true;
        block.element = section.head;
        section.list.append(this.parts(block));
      } else section.list.append(...section.blocks.map((block) => this.blockRow(block)));
    }
    this.links.redraw();
  }

  blockRow(block) {
    const label = block.path.startsWith(block.section.stage) ? block.path.slice(block.section.stage.length).replace(/^\./, "") : block.path;
    const fate = fateOfBlock(block);
    const button = element(
      "button",
      { type: "button", class: "block", "aria-expanded": "false", title: `${block.path}: ${FATE_WORDS[fate]}`, on: { click: () => this.toggleBlock(block) } },
      element("i", { class: fate }),
      element("span", { class: "name" }, label || String(block.place)),
      element("span", { class: "count" }, short(sizeOf([block]))),
    );
    block.element = button;
    block.holder = element("div", { class: "blockbox" }, button);
    return block.holder;
  }

  toggleBlock(block, open = !block.open) {
    if (block.section.blocks.length === 1 || block.open === open) return;
    block.open = open;
    block.element.setAttribute("aria-expanded", open);
    if (open && !block.list) block.holder.append((block.list = this.parts(block)));
    block.list.hidden = !open;
    this.links.redraw();
  }

  parts(block) {
    return element("div", { class: "parts" }, ...block.parts.map((part) => this.partRow(part)));
  }

  partRow(part) {
    const block = part.block;
    const rail = models[part.side].connected ? railOf(block, part.number, SIGNS) : element("i", { class: fateOf(part) });
    if (!part.tensors.length) {
      part.element = element("div", { class: "part joinrow" }, rail, element("span", { class: "name" }, JOIN_WORDS[part.operator] || part.operator));
      return part.element;
    }
    const [label, shape] = [labelOf(part), shapeWords(part.tensors[0].shape)];
    const [operator, lanes] = [part.operator.replaceAll("_", " "), models[part.side].connected ? lanesOf(block.kind).width : 1];
    const wide = 7.1 * label.length + 6.6 * operator.length + Math.max(74, 6.6 * shape.length) + LANE * lanes;
    const roomy = wide < 250; // else the operator is in the title and in the details alone
    part.element = element(
      "button",
      { type: "button", class: "part", title: `${partName(part)} (${operator || "part"}): ${FATE_WORDS[fateOf(part)]}`, on: { click: () => this.choose(part) } },
      rail,
      element("span", { class: "name" }, label),
      roomy ? element("span", { class: "op" }, operator) : null,
      element("span", { class: "count" }, shape),
    );
    return part.element;
  }

  // -- choosing

  choose(part, tensor = null) {
    if (this.chosen === part && !tensor && document.querySelector(".detail.filled")) {
      document.getElementById("detail").focus(); // chosen again: on to the details
      return;
    }
    this.chosen = part;
    this.container.querySelectorAll(".chosen, .partner").forEach((own) => own.classList.remove("chosen", "partner"));
    part.element.classList.add("chosen");
    for (const other of partnersOf(part)) {
      const shown = this.shownBlock(other.block);
      const own = shown === "parts" ? other.element : shown === "block" ? other.block.element : other.block.section.head;
      if (own) own.classList.add("partner");
    }
    this.links.redraw();
    this.onChoose(part, tensor);
  }

  /** Back from the details to the part that they are about. */
  leave() {
    this.container.querySelectorAll(".chosen, .partner").forEach((own) => own.classList.remove("chosen", "partner"));
    if (this.chosen) this.chosen.element.focus({ preventScroll: true });
    this.chosen = null;
    this.links.redraw();
  }

  reveal(tensor) {
    const part = tensor.part;
    if (!part) return this.onChoose(null, tensor);
    this.toggleSection(part.block.section, true);
    this.toggleBlock(part.block, true);
    const covered = matchMedia("(max-width: 960px)").matches; // the details will lie over the lower part of the screen
    part.element.scrollIntoView({ block: covered ? "start" : "center" });
    part.element.focus({ preventScroll: true });
    return this.choose(part, tensor);
  }

  isChosen(from, to) {
    return this.chosen !== null && (from === this.chosen || to === this.chosen);
  }

  shownBlock(block) {
    if (!block.section.open) return "tick";
    return block.open ? "parts" : "block";
  }

  // -- keys: up and down in a column, left and right to unfold or to change the side

  onKey(event) {
    const keys = { ArrowDown: 1, ArrowUp: -1 };
    const here = document.activeElement;
    const cell = here.closest(".cell");
    if (!cell) return;
    if (keys[event.key]) {
      const side = cell.classList.contains("student") ? "student" : "teacher";
      const all = [...this.container.querySelectorAll(`.cell.${side} button`)].filter((own) => own.offsetParent);
      const next = all[all.indexOf(here) + keys[event.key]];
      if (next) next.focus();
      event.preventDefault();
    } else if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
      const open = here.getAttribute("aria-expanded");
      if (open !== null && (open === "false") === (event.key === "ArrowRight")) here.click();
      else this.cross(here);
      event.preventDefault();
    }
  }

  /** Focus what is matched with the focused element, on the other side. */
  cross(here) {
    const from = here.getBoundingClientRect().top;
    const side = here.closest(".cell").classList.contains("student") ? "teacher" : "student";
    const near = [...this.container.querySelectorAll(`.cell.${side} button`)]
      .filter((own) => own.offsetParent)
      .sort((a, b) => Math.abs(a.getBoundingClientRect().top - from) - Math.abs(b.getBoundingClientRect().top - from));
    (near.find((own) => own.classList.contains("partner")) || near[0])?.focus();
  }
}

const nameOf = (section) => section.stage || section.blocks[0].path || labelOf(section.blocks[0].parts[0]);

function labelOf(part) {
  const { path, section } = part.block;
  if (!part.tensors.length) return JOIN_WORDS[part.operator] || part.operator;
  const bare = part.module === path && !section.inline; // parameters of the block itself
  const named = ["table", "token", "scale", "shift"].includes(part.operator);
  if (bare || named) return part.tensors.map((own) => (section.inline || !path ? own.name : own.name.slice(path.length + 1))).join(", ");
  if (section.inline || !part.module.startsWith(`${path}.`)) return part.module || part.tensors[0]?.name || part.operator;
  return part.module.slice(path.length + 1);
}

const partName = (part) => (part.tensors.length === 1 && part.operator === "table" ? part.tensors[0].name : part.module || part.operator);

function partnersOf(part) {
  const far = part.side === "student" ? "teacher" : "student";
  return new Set(part.tensors.flatMap((tensor) => tensor.rows.map((row) => row[far].part)).filter(Boolean));
}
