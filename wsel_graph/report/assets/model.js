"use strict";
// The page's data, unpacked: two models of sections, blocks, parts and numbered tensors, and what fills what.

const DATA = JSON.parse(document.getElementById("data").textContent);

const fullName = (path, name) => (name === "." ? path : name.startsWith(".") ? path + name : name);
const count = (shape) => shape.reduce((a, b) => a * b, 1);
const pairKey = (a, b) => a * 67108864 + b; // both below 2 ** 26
const grouped = (map, key) => map.get(key) || map.set(key, []).get(key);

function unpack(model, side) {
  const tensors = [];
  const numbers = new Map();
  const hold = (name, shape, axes) => {
    if (!numbers.has(name)) {
      numbers.set(name, tensors.length);
      tensors.push({ id: tensors.length, side, name, shape, axes, part: null, parts: [], rows: [], reason: "", fitted: null });
    }
    return tensors[numbers.get(name)];
  };
  const blocks = [];
  const makePart = (own, number, block) => {
    const part = { side, block, number, operator: own.operator, module: fullName(block.path, own.module), tensors: [] };
    part.tensors = own.tensors.map((held) => hold(fullName(block.path, held.name), held.shape, held.axes));
    part.tensors.forEach((tensor) => tensor.parts.push(part));
    part.tensors.forEach((tensor) => (tensor.part = tensor.part || part));
    return part;
  };
  const sections = model.outline.sections.map((given, index) => {
    const section = { side, index, stage: given.stage, reads: given.reads, blocks: [] };
    section.blocks = given.blocks.map((own, place) => {
      const kind = model.outline.kinds[own.kind];
      const block = { side, section, place, id: blocks.length, path: own.path, kind, kindNumber: own.kind };
      blocks.push(block);
      block.parts = kind.parts.map((part, number) => makePart(part, number, block));
      return block;
    });
    return section;
  });
  model.outline.unused.forEach((held) => hold(held.name, held.shape, held.axes));
  model.extra.forEach(([name, shape]) => hold(name, shape, ""));
  return { side, name: model.outline.model, connected: model.connected, sections, blocks, tensors };
}

const student = unpack(DATA.student, "student");
const teacher = unpack(DATA.teacher, "teacher");
const models = { student, teacher };

// Index lists: how many elements, the i-th of them, and in words.
const lists = DATA.lists.map((own, i) => {
  const says = DATA.list_words[i];
  if (own.length === 1) return { size: own[0].length, at: (k) => own[0][k], says };
  return { size: own[1], at: (k) => own[0] + k * own[2], says };
});

// Copies, from both sides; which parts and blocks fill which.
const partPairs = new Map(); // blocks of a pair -> pairs of parts
for (const [ours, theirs, form] of DATA.copies) {
  const row = { student: student.tensors[ours], teacher: teacher.tensors[theirs], form: DATA.forms[form] };
  row.student.rows.push(row);
  row.teacher.rows.push(row);
  const [tos, froms] = [row.student.parts, row.teacher.parts]; // several where a tensor is shared: in order
  for (let i = 0; froms.length && i < tos.length; i += 1) link(froms[Math.min(i, froms.length - 1)], tos[i]);
}
function link(from, to) {
  const own = grouped(partPairs, pairKey(from.block.id, to.block.id));
  if (!own.some((pair) => pair.from === from && pair.to === to)) own.push({ from, to });
}
DATA.kept.forEach(([tensor, reason]) => (student.tensors[tensor].reason = DATA.reasons[reason]));
DATA.fitted.forEach((own) => (student.tensors[own.tensor].fitted = own));

// Coupled groups by place, and the chains that explain them.
const groupsAt = new Map();
const placeKey = (tensor, dim) => tensor * 16 + dim;
for (const group of DATA.groups)
  for (let i = 0; i < group.members.length; i += 2)
    if (group.members[i] >= 0) grouped(groupsAt, placeKey(group.members[i], group.members[i + 1])).push(group);
const chainsAt = new Map();
for (const chain of DATA.chains) grouped(chainsAt, placeKey(chain.last[0], chain.last[1])).push(chain);

/** What became of a tensor, a part or a block: copied, adapted, kept, partly; used or left out. */
function fateOfTensor(tensor) {
  if (tensor.side === "teacher") return tensor.rows.length ? "copied" : "left";
  if (!tensor.rows.length) return "kept";
  const first = tensor.rows.filter((row) => !row.form.added);
  const filled = first.reduce((sum, row) => sum + filledShape(row).reduce((a, b) => a * b, 1), 0);
  if (filled < count(tensor.shape)) return "partly";
  return tensor.rows.some((row) => row.form.says.some((word) => !word.startsWith("multiplied"))) || first.length < tensor.rows.length
    ? "adapted"
    : "copied";
}
const filledShape = (row) => (row.form.filled.length ? row.form.filled.map((i) => lists[i].size) : row.student.shape);

const mixed = (fates) => {
  const kinds = new Set(fates);
  if (kinds.size <= 1) return fates[0] || "none";
  if (kinds.has("left")) return "copied"; // of a teacher, something is used
  return kinds.has("kept") || kinds.has("partly") ? "partly" : "adapted";
};
const remembered = (owner, make) => (owner.fate === undefined ? (owner.fate = make()) : owner.fate);
const fateOf = (part) => remembered(part, () => mixed(part.tensors.map(fateOfTensor)));
const fateOfBlock = (block) =>
  remembered(block, () => mixed(block.parts.filter((part) => part.tensors.length).map(fateOf)));

/** Share of a student's block that keeps its own values. */
function keptShare(block) {
  const tensors = [...new Set(block.parts.flatMap((part) => part.tensors))];
  const kept = tensors.filter((tensor) => fateOfTensor(tensor) === "kept");
  const sum = (own) => own.reduce((total, tensor) => total + count(tensor.shape), 0);
  return sum(kept) / Math.max(1, sum(tensors));
}

const FATE_WORDS = {
  copied: "selected from the teacher",
  adapted: "averaged or resampled from the teacher",
  partly: "filled in part",
  kept: "keeps the student's own values",
  left: "not used by the student",
  none: "",
};
