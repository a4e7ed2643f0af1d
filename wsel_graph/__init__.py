"""Initialise a small network from a larger pretrained one: a graph-based weight-selection engine.

Names are imported when they are first used: `import wsel_graph` costs next to nothing.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
else:
    _HOME = {
        "InitResult": "wsel_graph.api",
        "apply": "wsel_graph.api",
        "draft_rules": "wsel_graph.api",
        "initialize": "wsel_graph.api",
        "load_rules": "wsel_graph.api",
        "model_card": "wsel_graph.api",
        "plan": "wsel_graph.api",
        "report": "wsel_graph.api",
        "statistics": "wsel_graph.api",
        "unfilled": "wsel_graph.apply.unfilled",
        "ModelGraph": "wsel_graph.coupling.graph",
        "trace": "wsel_graph.coupling.graph",
        "CoupledGroup": "wsel_graph.coupling.groups",
        "Statistics": "wsel_graph.coupling.statistics",
        "load_statistics": "wsel_graph.coupling.statistics_file",
        "Certificate": "wsel_graph.coupling.verify",
        "verify": "wsel_graph.coupling.verify",
        "WselError": "wsel_graph.errors",
        "propagates": "wsel_graph.ops.registry",
        "Feature": "wsel_graph.plan",
        "Plan": "wsel_graph.plan",
        "diff_plans": "wsel_graph.plan",
        "load_plan": "wsel_graph.plan",
        "Compensation": "wsel_graph.starts.compensate",
        "compensate": "wsel_graph.starts.compensate",
        "recalibrate": "wsel_graph.starts.compensate",
        "diagnose": "wsel_graph.starts.diagnose",
        "Diagnosis": "wsel_graph.starts.diagnosis",
        "FeatureDistillation": "wsel_graph.starts.distillation",
        "feature_pairs": "wsel_graph.starts.features",
        "LogitDistillation": "wsel_graph.starts.logits",
    }

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(_HOME[name]), name)
        setattr(sys.modules[__name__], name, value)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_HOME})

    class _Package(ModuleType):
        """Some public verbs have the name of a package inside; importing this one must not hide the verb."""

        def __setattr__(self, name: str, value: Any) -> None:
            if not (name in _HOME and isinstance(value, ModuleType)):
                super().__setattr__(name, value)

    sys.modules[__name__].__class__ = _Package
