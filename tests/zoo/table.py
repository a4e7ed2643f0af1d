"""Write `tests/zoo/README.md` from the rows of a full run.

python -m tests.zoo.table results.jsonl [more.jsonl ...]
"""

from __future__ import annotations

import datetime
import json
import sys
from collections import Counter
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

Row = dict[str, Any]

COVERAGE_GOAL = 0.99

INTRO = """# Zoo: oracle O2 on third-party models

Every free coupled group of a model is permuted at random, all at once, on a float64 copy; the outputs must stay the
same to a relative error of 1e-9. `exact`: they do. `refused`: the engine said that it cannot trace the model.
A model is never allowed to be wrong. Columns: seconds for trace and groups on one CPU thread (a busy machine: orders
of magnitude, no benchmark); coupled groups, and how many of them were permuted; the share of parameters in tensors
with a free or anchored axis; operators without a propagation rule.

Made by these two commands (tests use a fixed sample with one model of every family):

    python -m tests.zoo.run results.jsonl
    python -m tests.zoo.table results.jsonl

Networks of other packages, tried by hand: [others.md](others.md).
"""


def main() -> None:
    """Read all rows, the latest of each model, and write the page."""
    rows: dict[str, Row] = {}
    for path in sys.argv[1:]:
        for line in Path(path).read_text().splitlines():
            row = json.loads(line)
            rows[row["id"]] = row
    ordered = sorted(rows.values(), key=lambda row: str(row["id"]))
    page = "\n".join([INTRO, *_summary(ordered), *_exceptions(ordered), *_tables(ordered)])
    (Path(__file__).parent / "README.md").write_text(page + "\n")


def _summary(rows: Iterable[Row]) -> list[str]:
    rows = list(rows)
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "timm", "torchvision", "transformers"))
    lines = [
        "## Result\n",
        f"{datetime.datetime.now(datetime.UTC).date()}; {versions}.\n",
        "| library | models | families | exact | refused | wrong | at least 99 % covered | unknown operators |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for library in ("timm", "torchvision", "transformers"):
        own = [row for row in rows if row["id"].startswith(library + "/")]
        count = Counter(row["status"] for row in own)
        covered = sum(row.get("covered", 0) >= COVERAGE_GOAL for row in own)
        unknown = sorted({name for row in own for name in row.get("unknown", ())})
        lines.append(
            f"| {library} | {len(own)} | {len({row['family'] for row in own})} | {count['exact']} | {count['refused']} "
            f"| {count['WRONG'] + count['CRASH']} | {covered} ({100 * covered / max(1, len(own)):.1f} %) "
            f"| {', '.join(unknown) or 'none'} |"
        )
    return lines


def _exceptions(rows: Iterable[Row]) -> list[str]:
    lines = ["\n## Not exact, or less than 99 % covered\n", "| model | status | covered | why |", "|---|---|---|---|"]
    for row in rows:
        if row["status"] != "exact" or row["covered"] < COVERAGE_GOAL:
            why = REASONS.get(row["id"]) or (row.get("note", "").strip().splitlines() or [""])[-1]
            lines.append(f"| {row['id']} | {row['status']} | {100 * row.get('covered', 0):.2f} % | {why} |")
    return lines


def _tables(rows: Iterable[Row]) -> list[str]:
    lines = ["\n## All models\n", "| model | family | status | s | groups | permuted | covered | max error |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for row in rows:
        if "groups" in row:
            lines.append(
                f"| {row['id']} | {row['family']} | {row['status']} | {row['seconds']:.2f} | {row['groups']} "
                f"| {row['permuted']} | {100 * row['covered']:.2f} % | {row['max_error']:.1g} |"
            )
    return lines


_CHANNEL_CONVOLUTION = (
    "efficient channel attention slides a convolution along the channel axis, so the order of the channels in "
    "its blocks matters: they are pinned"
)

REASONS: dict[str, str] = {
    "transformers/fnet": "a Fourier transform runs over the residual stream: the order of its channels matters",
    "transformers/llava": "masked_scatter writes image features into the token stream in running order: the stream is "
    "pinned, because the values of the mask decide what is coupled",
    "transformers/vipllava": "masked_scatter writes image features into the token stream, as in llava: the stream "
    "is pinned",
    "transformers/paligemma": "masked_scatter writes image features into the token stream, as in llava: the stream "
    "is pinned",
    "transformers/instructblip_qformer": "the query tokens come in as an input, with the channels of the residual "
    "stream: the stream is pinned",
    "transformers/blip_2_qformer": "the query tokens come in as an input, with the channels of the residual "
    "stream: the stream is pinned",
    "transformers/wavlm": "4 convolution groups and 6 heads (our small configuration) cut the residual stream in two "
    "ways that have no common refinement: it is pinned",
    "transformers/squeezebert": "convolution groups and heads (our small configuration) cut queries, keys and values "
    "in two ways that have no common refinement: they are pinned",
} | dict.fromkeys(
    (
        "timm/eca_nfnet_l0",
        "timm/nf_ecaresnet26",
        "timm/ecaresnet26t",
        "timm/ecaresnet50d_pruned",
        "timm/ecaresnetlight",
    ),
    _CHANNEL_CONVOLUTION,
)
"""Why a model is covered less, looked at one by one."""


if __name__ == "__main__":
    main()
