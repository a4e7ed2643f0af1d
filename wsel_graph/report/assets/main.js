// Put the page together: graph, details, search, colours.

const reveal = (id) => {
  const found = document.getElementById(id);
  found.hidden = false;
  return found;
};

function setUpTheme(button) {
  const kinds = ["auto", "light", "dark"];
  const words = { auto: "◐ auto", light: "○ light", dark: "● dark" };
  let kind = "auto";
  try {
    kind = kinds.find((own) => own === localStorage.getItem("wsel-report-theme")) || "auto";
  } catch {} // a file opened from disk may have no storage
  const apply = () => {
    if (kind === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = kind;
    button.textContent = words[kind];
    button.setAttribute("aria-label", `Colours: ${kind}`);
    repaint();
  };
  button.addEventListener("click", () => {
    kind = kinds[(kinds.indexOf(kind) + 1) % kinds.length];
    try {
      localStorage.setItem("wsel-report-theme", kind);
    } catch {}
    apply();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  apply();
}

reveal("find");
setUpTheme(reveal("theme"));
if (student.sections.length) {
  const shown = reveal("models");
  if (!student.connected) {
    const words = " This plan holds no outlines of its models: parts are grouped by their names, and what reads what is not drawn.";
    shown.querySelector(".lead").append(words);
    shown.classList.add("unknown");
  }
  const detail = new Detail(document.getElementById("detail"), (tensor) => graph.reveal(tensor), () => graph.leave());
  const graph = new Graph(document.getElementById("graph"), (part, tensor) => detail.show(part, tensor));
  const query = document.getElementById("query");
  new Search(query, document.getElementById("hits"), (tensor) => graph.reveal(tensor));
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea");
    if (event.key === "/" && !typing) {
      query.focus();
      query.select();
      event.preventDefault();
    } else if (event.key === "Escape" && !typing) detail.close();
  });
  addEventListener("resize", repaint);
}
