// Which teacher rows and columns went where, drawn to scale on canvases; redrawn when the colours change.

const drawings = new Set();
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A canvas that is drawn when it is seen; `tall` gives its height for its width. */
function canvas(label, tall, draw) {
  const made = element("canvas", { role: "img", "aria-label": label, style: `height:${tall(400)}px` });
  const paint = () => {
    const width = made.clientWidth;
    if (!made.isConnected || !width) return;
    const height = tall(width);
    made.style.height = `${height}px`;
    const ratio = window.devicePixelRatio || 1;
    made.width = Math.round(width * ratio);
    made.height = Math.round(height * ratio);
    const pen = made.getContext("2d");
    pen.scale(ratio, ratio);
    draw(pen, width, height);
  };
  made.paint = paint;
  drawings.add(made);
  requestAnimationFrame(paint);
  return made;
}

function repaint() {
  for (const own of drawings) own.isConnected ? own.paint() : drawings.delete(own);
}

/** Share of every pixel that is covered by the elements of a list, of `size` on `pixels`. */
function density(list, size, pixels) {
  const found = new Float32Array(pixels);
  const scale = pixels / size;
  for (let i = 0; i < list.size; i += 1) {
    const [from, to] = [list.at(i) * scale, (list.at(i) + 1) * scale];
    for (let p = Math.floor(from); p < Math.min(pixels, to); p += 1) found[p] += Math.min(p + 1, to) - Math.max(p, from);
  }
  return found;
}

const everything = (size) => ({ size, at: (i) => i });

/** What a copy takes and fills along one teacher dim; `to` is the student dim, or -1. */
function alongDim(row, dim) {
  const to = row.form.order[dim];
  const filled = to >= 0 && row.form.filled.length ? lists[row.form.filled[to]] : to >= 0 ? everything(row.student.shape[to]) : null;
  const sizes = [row.teacher.shape[dim], to >= 0 ? row.student.shape[to] : 0];
  const own = { taken: lists[row.form.taken[dim]], filled, to, sizes, how: "selected" };
  if (row.form.resized.includes(dim)) return { ...own, how: "resized", lines: [] };
  const mixed = row.form.mixed.find(([place]) => place === dim);
  if (mixed) {
    const lines = filled ? mixed[1].flatMap((found, i) => found.map((place) => [place, filled.at(i)])) : [];
    const all = [...new Set(mixed[1].flat())].sort((a, b) => a - b);
    return { ...own, how: "mixed", taken: { size: all.length, at: (i) => all[i], says: `all of ${all.length}` }, lines };
  }
  const pairs = filled ? Math.min(own.taken.size, filled.size) : 0;
  return { ...own, lines: Array.from({ length: pairs }, (_, i) => [own.taken.at(i), filled.at(i)]) };
}

/** One dim: the teacher's elements above, the student's below, to one scale, and lines from one to the other. */
function strip(row, dim) {
  const { taken, filled, sizes, lines, how } = alongDim(row, dim);
  const [large, small] = sizes;
  return canvas(`${taken.size} of ${large} elements of the teacher's dim ${dim}`, () => (filled ? 54 : 14), (pen, width) => {
    const scale = width / Math.max(large, small);
    bar(pen, taken, large, 0, scale);
    if (!filled) return;
    bar(pen, filled, small, 40, scale);
    if (how === "resized") funnel(pen, large * scale, small * scale);
    const step = Math.max(1, Math.ceil(lines.length / (width / 4)));
    pen.strokeStyle = colour("--copied");
    pen.globalAlpha = 0.55;
    pen.lineWidth = Math.max(0.6, Math.min(1.2, scale));
    pen.beginPath();
    for (let i = 0; i < lines.length; i += step) {
      const [a, b] = lines[i].map((place) => (place + 0.5) * scale);
      pen.moveTo(a, 15);
      pen.bezierCurveTo(a, 27, b, 27, b, 39);
    }
    pen.stroke();
  });
}

/** A resampled dim: all of it goes to all of it. */
function funnel(pen, above, below) {
  pen.fillStyle = colour("--copied");
  pen.globalAlpha = 0.25;
  pen.beginPath();
  pen.moveTo(0, 15);
  pen.lineTo(above, 15);
  pen.bezierCurveTo(above, 27, below, 27, below, 39);
  pen.lineTo(0, 39);
  pen.fill();
}

function bar(pen, list, size, top, scale) {
  const pixels = Math.max(1, Math.round(size * scale));
  pen.fillStyle = colour("--left");
  pen.fillRect(0, top, pixels, 14);
  pen.fillStyle = colour("--copied");
  density(list, size, pixels).forEach((share, p) => {
    pen.globalAlpha = Math.min(1, share);
    pen.fillRect(p, top, 1, 14);
  });
  pen.globalAlpha = 1;
  if (scale >= 4) {
    pen.fillStyle = colour("--paper");
    for (let i = 1; i < size; i += 1) pen.fillRect(Math.round(i * scale), top, 1, 14);
  }
}

const ACROSS = 10; // pixels between two matrices
const TALLEST = 150;
const SLIMMEST = 1 / 24;

/** The first two dims at once: the teacher's matrix and the student's, to one scale. */
function matrix(row) {
  const dims = row.teacher.shape.flatMap((size, dim) => (size > 1 ? [dim] : [])).slice(0, 2);
  if (dims.length < 2) return null;
  const [down, along] = dims.map((dim) => alongDim(row, dim));
  const places = [down.to, along.to];
  if (places.includes(-1)) return null;
  const rows = Math.max(...down.sizes);
  if (Math.min(rows, along.sizes[0]) / Math.max(rows, along.sizes[0]) < SLIMMEST) return null; // strips say it all
  const fit = (width) => Math.min(TALLEST / rows, (width - ACROSS) / (along.sizes[0] + along.sizes[1]));
  const label = `teacher ${down.sizes[0]} by ${along.sizes[0]}, student ${down.sizes[1]} by ${along.sizes[1]}`;
  const drawn = canvas(label, (width) => Math.max(2, Math.ceil(fit(width) * rows)), (pen, width) => {
    const scale = fit(width);
    block(pen, 0, down.taken, along.taken, down.sizes[0], along.sizes[0], scale);
    const left = Math.round(along.sizes[0] * scale) + ACROSS;
    block(pen, left, down.filled, along.filled, down.sizes[1], along.sizes[1], scale);
  });
  const share = (100 * down.taken.size * along.taken.size) / (down.sizes[0] * along.sizes[0]);
  const words = [`teacher ${down.sizes[0]} × ${along.sizes[0]}`, `student ${down.sizes[1]} × ${along.sizes[1]}`, `${+share.toPrecision(3)} % of the elements are taken`];
  return element("figure", {}, drawn, element("figcaption", {}, ...words.map((word) => element("div", {}, word))));
}

function block(pen, left, rowsTaken, columnsTaken, rows, columns, scale) {
  const [wide, tall] = [Math.max(1, Math.round(columns * scale)), Math.max(1, Math.round(rows * scale))];
  pen.fillStyle = colour("--left");
  pen.fillRect(left, 0, wide, tall);
  pen.fillStyle = colour("--copied");
  const [down, along] = [density(rowsTaken, rows, tall), density(columnsTaken, columns, wide)];
  for (let y = 0; y < tall; y += 1)
    for (let x = 0; x < wide; x += 1) {
      const share = Math.min(1, down[y]) * Math.min(1, along[x]);
      if (share < 0.01) continue;
      pen.globalAlpha = share;
      pen.fillRect(left + x, y, 1, 1);
    }
  pen.globalAlpha = 1;
}
