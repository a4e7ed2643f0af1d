"""The plan format: pure data, no torch."""

from wsel_graph.plan.copies import Copy as Copy
from wsel_graph.plan.copies import Indices as Indices
from wsel_graph.plan.copies import Mix as Mix
from wsel_graph.plan.copies import Resize as Resize
from wsel_graph.plan.copies import View as View
from wsel_graph.plan.copies import compact as compact
from wsel_graph.plan.copies import describe_indices as describe_indices
from wsel_graph.plan.copies import describe_mix as describe_mix
from wsel_graph.plan.copies import describe_resize as describe_resize
from wsel_graph.plan.diff import Difference as Difference
from wsel_graph.plan.diff import PlanDifference as PlanDifference
from wsel_graph.plan.diff import diff_plans as diff_plans
from wsel_graph.plan.model import Plan as Plan
from wsel_graph.plan.outline import Outline as Outline
from wsel_graph.plan.parts import Choice as Choice
from wsel_graph.plan.parts import Feature as Feature
from wsel_graph.plan.parts import Kept as Kept
from wsel_graph.plan.parts import LayerMap as LayerMap
from wsel_graph.plan.parts import Tap as Tap
from wsel_graph.plan.provenance import Architecture as Architecture
from wsel_graph.plan.provenance import Provenance as Provenance
from wsel_graph.plan.provenance import RulesUsed as RulesUsed
from wsel_graph.plan.serial import load_plan as load_plan
from wsel_graph.plan.serial import save_plan as save_plan
