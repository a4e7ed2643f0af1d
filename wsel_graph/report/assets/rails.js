// Lanes of activations beside the parts of a block, as a commit graph draws branches: lane 0 is the stream.

const SVG = "http://www.w3.org/2000/svg";
const ROW = 30;
const LANE = 12;
const EDGE = 9;

function svg(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** For every part of a kind: its lane, the lanes that its inputs come from, and the lanes that pass it. */
function lanesOf(kind) {
  if (kind.lanes) return kind.lanes;
  const last = new Map();
  kind.parts.forEach((part, number) => part.inputs.forEach((value) => last.set(value, number)));
  kind.results.forEach((value) => last.set(value, Infinity));
  const lanes = []; // what every lane holds; undefined where it is free
  const free = (from) => {
    let lane = from;
    while (lanes[lane] !== undefined) lane += 1;
    return lane;
  };
  const outside = [...last.keys()].filter((value) => value < 0).sort((a, b) => b - a);
  outside.forEach((value) => (lanes[free(0)] = value));
  const before = outside.length;
  const rows = kind.parts.map((part, number) => {
    const inputs = part.inputs.map((value) => lanes.indexOf(value)).filter((lane) => lane >= 0);
    const dying = part.inputs.filter((value) => last.get(value) === number).map((value) => lanes.indexOf(value));
    const passing = lanes.flatMap((value, lane) => (value !== undefined && !dying.includes(lane) ? [lane] : []));
    dying.forEach((lane) => (lanes[lane] = undefined));
    const lane = dying.length ? Math.min(...dying) : free(part.inputs.length || before ? 1 : 0);
    const alive = last.has(number);
    if (alive) lanes[lane] = number;
    return { lane, inputs, passing, alive };
  });
  const width = Math.max(1, ...rows.map((row) => Math.max(row.lane, ...row.passing, ...row.inputs) + 1));
  return (kind.lanes = { rows, width });
}

const laneX = (lane) => EDGE + lane * LANE;

function railOf(block, number, signs) {
  const { rows, width } = lanesOf(block.kind);
  const row = rows[number];
  const [x, middle] = [laneX(row.lane), ROW / 2];
  const made = svg("svg", { class: "rail", width: laneX(width - 1) + EDGE, height: ROW, "aria-hidden": "true" });
  const line = (d, lane) => made.append(svg("path", { d, class: lane ? "side" : "stream" }));
  row.passing.forEach((lane) => line(`M${laneX(lane)} 0V${ROW}`, lane));
  row.inputs.forEach((lane) => {
    const from = laneX(lane);
    line(from === x ? `M${x} 0V${middle}` : `M${from} 0C${from} 11 ${x} 4 ${x} ${middle}`, Math.max(lane, row.lane));
  });
  if (row.alive) line(`M${x} ${middle}V${ROW}`, row.lane);
  const sign = signs[block.kind.parts[number].operator];
  if (block.kind.parts[number].tensors.length) {
    made.append(svg("rect", { x: x - 4, y: middle - 4, width: 8, height: 8, rx: 2, class: `node ${fateOf(block.parts[number])}` }));
  } else {
    made.append(svg("circle", { cx: x, cy: middle, r: 6.5, class: "join" }));
    made.append(svg("text", { x, y: middle + 3.5, class: "sign" }, sign || "·"));
  }
  return made;
}
