// Curves between matched blocks and parts, drawn anew when something unfolds.

const MOST_CURVES = 90; // between two folded stages

class Links {
  constructor(graph, view) {
    this.graph = graph;
    this.view = view;
    this.svg = svg("svg", { class: "links", "aria-hidden": "true" });
    graph.append(this.svg);
    this.waiting = false;
  }

  redraw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  draw() {
    const frame = this.graph.getBoundingClientRect();
    const [left, right] = ["teacher", "student"].map((side) => {
      const column = this.graph.querySelector(`.cell.${side}`).getBoundingClientRect();
      return side === "teacher" ? column.right - frame.left : column.left - frame.left;
    });
    this.width = right - left;
    this.frame = frame;
    this.tops = new Map();
    this.svg.style.left = `${left}px`;
    this.svg.setAttribute("width", this.width);
    this.svg.setAttribute("height", frame.height);
    this.svg.replaceChildren(...this.curves());
  }

  curves() {
    const folded = new Map();
    const made = new Map();
    for (const pairs of partPairs.values()) {
      const { from, to } = pairs[0];
      const [a, b] = [this.view.shownBlock(from.block), this.view.shownBlock(to.block)];
      if (a === "tick" && b === "tick") {
        grouped(folded, pairKey(from.block.section.index, to.block.section.index)).push(pairs[0]);
        continue;
      }
      for (const pair of pairs) this.add(made, pair.from, pair.to);
    }
    for (const own of folded.values()) {
      const step = Math.ceil(own.length / MOST_CURVES);
      own.forEach((pair, i) => (i % step && i !== own.length - 1 ? null : this.add(made, pair.from, pair.to)));
    }
    return [...made.values()].sort((a, b) => a.classList.contains("hot") - b.classList.contains("hot"));
  }

  add(made, from, to) {
    const [one, two] = [this.anchor(from), this.anchor(to)];
    const key = `${one.y} ${two.y}`;
    const hot = this.view.isChosen(from, to);
    const before = made.get(key);
    if (before) {
      if (hot) before.classList.add("hot");
      return;
    }
    const bend = this.width * 0.45;
    const d = `M0 ${one.y}C${bend} ${one.y} ${this.width - bend} ${two.y} ${this.width} ${two.y}`;
    made.set(key, svg("path", { d, class: hot ? "hot" : one.fine || two.fine ? "fine" : "plain" }));
  }

  /** Where the curve of a part ends: at its row, its block, or its tick in a folded stage. */
  anchor(part) {
    const shown = this.view.shownBlock(part.block);
    if (shown === "tick") {
      const { top, height } = this.rect(part.block.section.ticks.firstChild);
      return { y: round(top + ((part.block.place + 0.5) * height) / part.block.section.blocks.length), fine: true };
    }
    const element = shown === "parts" ? part.element : part.block.element;
    const { top, height } = this.rect(element);
    return { y: round(top + height / 2), fine: false };
  }

  rect(element) {
    let own = this.tops.get(element);
    if (!own) {
      const found = element.getBoundingClientRect();
      this.tops.set(element, (own = { top: found.top - this.frame.top, height: found.height }));
    }
    return own;
  }
}

const round = (value) => Math.round(value * 2) / 2;
