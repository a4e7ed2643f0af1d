"""One error family: every error raised on purpose derives from `WselError` and from a builtin kind.

A message says what happened, where (graph node, module path), both sides, and what to do next.
"""

from __future__ import annotations


class WselError(Exception):
    """Base of every error that this package raises on purpose."""


class AxisConflictError(WselError, ValueError):
    """Two axes that must be equal have different sizes."""


class NotationError(WselError, ValueError):
    """Axis notation that cannot be parsed; the text carries a caret under the fault."""


class CaptureError(WselError, RuntimeError):
    """A model could not be run and recorded as a graph."""


class ExampleInputsError(WselError, ValueError):
    """The example inputs are missing, malformed, or refused by the model."""


class DuplicateRuleError(WselError, ValueError):
    """Two propagation rules claim the same operator."""


class UnknownNameError(WselError, KeyError):
    """A tensor, group or selection-rule name that does not exist; the text lists near names."""

    def __str__(self) -> str:
        """Show the message as written (`KeyError` would print its repr)."""
        return str(self.args[0]) if self.args else ""


class MatchError(WselError, ValueError):
    """Teacher and student could not be paired."""


class SelectionRuleError(WselError, ValueError):
    """A selection-rule file or option that is not valid."""


class PlanError(WselError, ValueError):
    """A plan that cannot be built or that does not fit the tensors it is applied to."""


class MissingValuesError(PlanError):
    """What was asked for needs the values of a model, which are on the meta device."""


class CompensationError(WselError, ValueError):
    """A start cannot be improved with what was given."""


class DistillationError(WselError, ValueError):
    """Values of student and teacher that cannot be compared, or that are not there when the loss is taken."""


class DiagnosisError(WselError, ValueError):
    """A start that cannot be looked at with what was given."""
