"""Initialise a small network from a larger pretrained one: a graph-based weight-selection engine."""

# First: a package that is imported later would take the place of the function of its name.
import wsel_graph.report as _package  # noqa: F401
from wsel_graph.api import InitResult as InitResult
from wsel_graph.api import apply as apply
from wsel_graph.api import draft_rules as draft_rules
from wsel_graph.api import initialize as initialize
from wsel_graph.api import load_rules as load_rules
from wsel_graph.api import model_card as model_card
from wsel_graph.api import plan as plan
from wsel_graph.api import report as report
from wsel_graph.api import statistics as statistics
from wsel_graph.apply.unfilled import unfilled as unfilled
from wsel_graph.coupling.graph import ModelGraph as ModelGraph
from wsel_graph.coupling.graph import trace as trace
from wsel_graph.coupling.groups import CoupledGroup as CoupledGroup
from wsel_graph.coupling.statistics import Statistics as Statistics
from wsel_graph.coupling.statistics_file import load_statistics as load_statistics
from wsel_graph.coupling.verify import Certificate as Certificate
from wsel_graph.coupling.verify import verify as verify
from wsel_graph.errors import WselError as WselError
from wsel_graph.ops.registry import propagates as propagates
from wsel_graph.plan import Feature as Feature
from wsel_graph.plan import Plan as Plan
from wsel_graph.plan import diff_plans as diff_plans
from wsel_graph.plan import load_plan as load_plan
from wsel_graph.starts.compensate import Compensation as Compensation
from wsel_graph.starts.compensate import compensate as compensate
from wsel_graph.starts.compensate import recalibrate as recalibrate
from wsel_graph.starts.diagnose import diagnose as diagnose
from wsel_graph.starts.diagnosis import Diagnosis as Diagnosis
from wsel_graph.starts.distillation import FeatureDistillation as FeatureDistillation
from wsel_graph.starts.features import feature_pairs as feature_pairs
from wsel_graph.starts.logits import LogitDistillation as LogitDistillation
