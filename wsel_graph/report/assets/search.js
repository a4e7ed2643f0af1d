// Find tensors of both models by parts of their names.

const MOST_HITS = 40;

class Search {
  constructor(input, list, onTensor) {
    this.input = input;
    this.list = list;
    this.onTensor = onTensor;
    this.hits = [];
    this.active = -1;
    this.all = [...student.tensors, ...teacher.tensors].map((tensor) => [tensor.name.toLowerCase(), tensor]);
    input.addEventListener("input", () => this.update());
    input.addEventListener("focus", () => input.value && this.update());
    input.addEventListener("keydown", (event) => this.onKey(event));
    document.addEventListener("click", (event) => event.target.closest("#find") || this.close());
  }

  update() {
    const words = this.input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = ([name, tensor]) => words.every((word) => name.includes(word) || tensor.side === word);
    const found = words.length ? this.all.filter(fits) : [];
    this.hits = found.slice(0, MOST_HITS).map(([, tensor]) => tensor);
    this.active = this.hits.length ? 0 : -1;
    const items = this.hits.map((tensor, i) =>
      element(
        "li",
        { role: "option", id: `hit${i}`, on: { click: () => this.take(i) } },
        element("i", { class: fateOfTensor(tensor) }),
        element("code", {}, tensor.name),
        element("span", {}, tensor.side),
      ),
    );
    if (found.length > MOST_HITS) items.push(element("li", { class: "more" }, `and ${found.length - MOST_HITS} more`));
    if (words.length && !found.length) items.push(element("li", { class: "more" }, "no tensor has such a name"));
    this.list.replaceChildren(...items);
    this.list.hidden = !items.length;
    this.input.setAttribute("aria-expanded", Boolean(items.length));
    this.mark();
  }

  mark() {
    [...this.list.children].forEach((item, i) => item.setAttribute("aria-selected", i === this.active));
    if (this.active < 0) return this.input.removeAttribute("aria-activedescendant");
    this.input.setAttribute("aria-activedescendant", `hit${this.active}`);
    return this.list.children[this.active].scrollIntoView({ block: "nearest" });
  }

  onKey(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && this.hits.length) {
      this.active = (this.active + step + this.hits.length) % this.hits.length;
      this.mark();
      event.preventDefault();
    } else if (event.key === "Enter" && this.active >= 0) this.take(this.active);
    else if (event.key === "Escape") this.close();
  }

  take(number) {
    const tensor = this.hits[number];
    this.close();
    this.onTensor(tensor);
  }

  close() {
    this.list.hidden = true;
    this.input.setAttribute("aria-expanded", "false");
  }
}
