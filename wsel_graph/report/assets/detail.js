// What is known of one part: its tensors, where their values come from, what is coupled and why.

const MOST_PLACES = 60;
const HINTS = [
  ["/", "search"],
  ["↑ ↓", "move along a model"],
  ["← →", "unfold, fold, or go to the other model"],
  ["Enter", "choose a part; again, go to its details"],
  ["Esc", "close the details"],
];

/** Axis notation cut into its dims: "(3 heads head_dim) embed" -> two texts. */
function axesOf(tensor) {
  const found = [];
  let depth = 0;
  for (const word of tensor.axes.split(" ")) {
    if (depth) found[found.length - 1] += ` ${word}`;
    else if (word) found.push(word);
    depth += word.split("(").length - word.split(")").length;
  }
  return found.length === tensor.shape.length ? found : [];
}

class Detail {
  constructor(panel, onTensor, onClose) {
    this.panel = panel;
    this.onClose = onClose;
    this.onTensor = onTensor;
    this.empty();
  }

  empty() {
    this.panel.classList.remove("filled");
    this.panel.replaceChildren(element("div", { class: "hint" }, element("p", {}, "Choose a part of either model: its tensors, their axes, and which of the teacher's rows and columns went where are shown here."), ...HINTS.map(([keys, words]) => element("p", {}, element("kbd", {}, keys), words))));
  }

  close() {
    this.empty();
    this.onClose();
  }

  show(part, tensor) {
    const tensors = part ? part.tensors : [tensor];
    const side = tensors[0].side;
    const title = part ? partName(part) : tensor.name;
    const close = element("button", { type: "button", class: "quiet close", "aria-label": "Close", on: { click: () => this.close() } }, "×");
    const head = element("div", { class: "detailhead" }, element("div", { class: "kicker" }, part ? `${side}, ${part.operator.replaceAll("_", " ") || "part"}` : side), element("h3", {}, title), close);
    const sections = tensors.map((own) => this.tensor(own, tensors.length === 1 || own === tensor || own === tensors[0]));
    this.panel.replaceChildren(head, ...sections);
    this.panel.classList.add("filled");
    this.panel.scrollTop = 0;
  }

  tensor(own, open) {
    const fate = fateOfTensor(own);
    const summary = element(
      "summary",
      {},
      element("i", { class: fate }),
      element("code", {}, own.name),
      element("span", { class: "shape" }, shapeWords(own.shape)),
      own.axes ? element("span", { class: "axes" }, own.axes) : null,
    );
    const made = element("details", { class: "tensor", open }, summary);
    const fill = () => {
      if (made.childElementCount > 1) return;
      made.append(...this.body(own, fate).filter(Boolean));
    };
    if (open) fill();
    made.addEventListener("toggle", () => made.open && (fill(), repaint()));
    return made;
  }

  body(own, fate) {
    if (own.side === "teacher" && !own.rows.length) return [element("p", { class: "quietly" }, "The student takes nothing from it.")];
    const parts = own.rows.slice(0, 24).map((row) => this.copy(row, own.side));
    if (own.rows.length > 24) parts.push(element("p", { class: "quietly" }, `and ${own.rows.length - 24} further copies`));
    if (own.side === "student") {
      if (fate === "kept") parts.push(element("p", {}, "Keeps the student's own values: ", own.reason || "the plan does not say why", "."));
      if (fate === "partly") parts.push(element("p", {}, "What is not filled keeps the student's own values."));
      if (own.fitted) parts.push(element("p", { class: "fit" }, element("b", {}, own.fitted.fitted ? "Compensated. " : "Compensation: "), own.fitted.says));
      parts.push(...own.shape.map((_, dim) => this.coupled(own, dim)));
    }
    return parts;
  }

  copy(row, side) {
    const far = side === "student" ? row.teacher : row.student;
    const words = { student: row.form.added ? "added: from" : "from teacher", teacher: "goes to student" }[side];
    const head = element("p", { class: "from" }, `${words} `, this.link(far), element("span", { class: "shape" }, ` ${shapeWords(far.shape)}`));
    const dims = row.teacher.shape.map((size, dim) => (size > 1 || row.teacher.shape.length === 1 ? this.dim(row, dim) : null));
    const says = row.form.says.map((word) => element("p", { class: "says" }, word));
    return element("div", { class: "copy" }, head, ...[matrix(row), ...dims, ...says].filter(Boolean));
  }

  dim(row, dim) {
    const { taken, sizes, to, how } = alongDim(row, dim);
    const axes = axesOf(row.teacher)[dim] || "";
    const whole = taken.size === sizes[0];
    const same = how === "selected" && whole && sizes[1] === sizes[0] && taken.says === `0:${sizes[0]}`;
    const arrow = to >= 0 && to !== dim ? `dim ${dim} → ${to}` : `dim ${dim}`;
    const words = { resized: `${sizes[0]} resampled to ${sizes[1]}`, mixed: `${sizes[1]} made of ${taken.size}` }[how];
    const numbers = words ? words : same ? `all ${sizes[0]}` : `${taken.size} of ${sizes[0]}` + (to >= 0 && sizes[1] !== taken.size ? ` into ${sizes[1]}` : "");
    const head = element("div", { class: "dimhead" }, element("span", { class: "no" }, arrow), element("code", {}, axes), element("span", { class: "n" }, numbers));
    if (same) return head;
    const list = how === "selected" ? element("div", { class: "list" }, `elements ${taken.says}`, to < 0 ? ", laid out anew" : "") : null;
    return element("div", { class: "dim" }, head, strip(row, dim), ...[list].filter(Boolean));
  }

  link(tensor) {
    return element("button", { type: "button", class: "link", on: { click: () => this.onTensor(tensor) } }, tensor.name);
  }

  // -- coupling

  coupled(own, dim) {
    const groups = groupsAt.get(placeKey(own.id, dim)) || [];
    if (!groups.length) return null;
    const made = groups.map((group) => this.group(group, own, dim));
    return element("div", { class: "coupled" }, element("h4", {}, `Coupled through dim ${dim}`), ...made, this.chains(own, dim));
  }

  group(group, own, dim) {
    const [large, small] = group.sizes;
    const sizes = large === small ? `${small}` : `${large} → ${small}`;
    const places = [];
    for (let i = 0; i < group.members.length; i += 2) {
      const [tensor, at] = [group.members[i], group.members[i + 1]];
      if (tensor >= 0 && !(tensor === own.id && at === dim)) places.push([student.tensors[tensor], at]);
    }
    const line = element(
      "p",
      { class: "group" },
      element("b", {}, group.role),
      ` ${sizes}`,
      element("span", { class: "method" }, group.method),
      element("span", { class: "status" }, group.status),
      group.rule ? element("span", { class: "rule" }, "rule ", element("code", {}, group.rule)) : null,
    );
    if (!places.length) return element("div", {}, line, element("p", { class: "quietly" }, "coupled with no other tensor"));
    const items = element("ul", { class: "places" });
    const list = element("details", {}, element("summary", {}, `one index list with ${places.length} other place${places.length > 1 ? "s" : ""}`), items);
    list.addEventListener("toggle", () => {
      if (items.firstChild) return;
      items.append(...places.slice(0, MOST_PLACES).map(([tensor, at]) => element("li", {}, this.link(tensor), ` dim ${at}`)));
      if (places.length > MOST_PLACES) items.append(element("li", {}, `and ${places.length - MOST_PLACES} more`));
    });
    return element("div", {}, line, list);
  }

  /** What ties the place to the one before; blocks of one kind are alike, so one of them may stand for the others. */
  chains(own, dim) {
    const found = (tensor) => chainsAt.get(placeKey(tensor.id, dim)) || [];
    const twin = found(own).length ? own : twinsOf(own).find((other) => found(other).length);
    if (!twin) return null;
    const seen = new Set();
    const lines = found(twin).flatMap((chain) => {
      const text = chain.links.join("\n");
      const key = `${chain.role} ${chain.first} ${text}`;
      if (seen.has(key)) return [];
      seen.add(key);
      const steps = chain.links.flatMap((link, i) => [i ? " → " : "", element("span", { class: "step", title: link }, stepWords(link))]);
      const start = student.tensors[chain.first[0]];
      return [element("li", {}, element("b", {}, `${chain.role} `), start ? this.link(start) : "?", ` dim ${chain.first[1]}: `, ...(steps.length ? steps : ["the same axis"]))];
    });
    const like = twin === own ? "Why" : `Why (as in ${twin.name})`;
    return element("div", { class: "why" }, element("h5", {}, like), element("ul", {}, ...lines));
  }
}

/** The same tensor in blocks of the same kind of its stage, nearest last blocks first. */
function twinsOf(tensor) {
  const part = tensor.part;
  if (!part) return [];
  const place = part.tensors.indexOf(tensor);
  const alike = part.block.section.blocks.filter((block) => block.kindNumber === part.block.kindNumber && block !== part.block);
  return alike.slice(0, 2).reverse().map((block) => block.parts[part.number].tensors[place]);
}

/** "add_tensor_1: aten.add.Tensor in blocks.0" -> "add in blocks.0" */
function stepWords(link) {
  const found = /^[^:]*: (?:[\w]+\.)?([\w]+)(?:\.\w+)? in (.*)$/.exec(link);
  return found ? `${found[1].replace(/^native_/, "")} in ${found[2]}` : link;
}
