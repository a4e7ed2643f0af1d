"""Rescaling by fan-in: `rescale: variance`.

A weight of which only some input features are taken sums fewer terms, so its output loses variance. Multiplying by
`sqrt(teacher's fan-in / student's fan-in)` restores it for independent terms.

Reference: Samragh et al., "Weight subcloning: direct initialization of transformers using larger pretrained ones",
arXiv:2312.09299, section 3 (scaling of the weights).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from wsel_graph.coupling.graph import ModelGraph
from wsel_graph.planner.choose import Chooser
from wsel_graph.planner.joint import PairedDim
from wsel_graph.planner.pinned import reads_features


def scale(student: ModelGraph, dims: Sequence[PairedDim], chooser: Chooser) -> float:
    """The factor for one piece of a tensor, 1 where nothing is to be rescaled.

    The fan-in is the product of the dims other than the output's, which is the first of a piece's dims. Dims that
    are resampled or repeated count as unchanged: resampling keeps the scale by itself, and of a repeated axis nothing
    was left out. Norms, biases and tables do not sum over features, so they are not rescaled.
    """
    if len(dims) < 2 or not reads_features(student, dims[0].piece.student.tensor):
        return 1.0
    ratio = 1.0
    for paired in dims[1:]:
        for _, run in chooser.runs(paired.teacher):
            if chooser.settings(run).rescale == "variance":
                ratio *= chooser.reduction(run)
    return math.sqrt(ratio)
