"""Hooks that keep what chosen modules return until it is taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from wsel_graph.capture.returns import at_place
from wsel_graph.errors import DistillationError
from wsel_graph.plan import Tap
from wsel_graph.starts.wrappers import submodule

Key = tuple[int, int]
"""Number of a tap, and of the device that it ran on (data parallelism has several)."""


class Watch:
    """Watches the taps of one model.

    Hooks hold the store and not the watch, and keep values of the last forward pass alone: a new one drops what was not
    taken. Nothing is computed and nothing copied.

    Args:
        model: A module, which may be wrapped.
        taps: What to keep.
        side: `student` or `teacher`, for messages.
        detached: Whether values are kept without their gradients.
    Raises:
        DistillationError: If the model has no module of a tap's path.
    """

    def __init__(self, model: nn.Module, taps: Sequence[Tap], side: str, *, detached: bool) -> None:
        self.model, self.taps, self._side = model, tuple(taps), side
        self._detached = detached
        self._values: dict[Key, torch.Tensor] = {}
        self._notes: dict[Key, tuple[int, bool]] = {}  # version of the memory, and whether gradients were on
        self._calls: dict[Key, int] = {}
        self._open = [True]  # compiled code goes on running hooks that were removed: it looks here
        modules = [self._module(tap) for tap in self.taps]
        self.handles = [model.register_forward_pre_hook(self._start(), prepend=True)]
        for number, (tap, module) in enumerate(zip(self.taps, modules, strict=True)):
            self.handles.append(module.register_forward_hook(self._keep(number, tap)))

    def _module(self, tap: Tap) -> nn.Module:
        module = submodule(self.model, tap.module)
        if module is None:
            raise DistillationError(
                f"{self._side}: {type(self.model).__name__} has no module {tap.module!r}, which the plan names: "
                "give the models that the plan was made for, student first"
            )
        return module

    def _start(self) -> Callable[..., None]:
        values, notes, calls = self._values, self._notes, self._calls

        def start(module: nn.Module, args: Any) -> None:
            if not getattr(module, "_is_replica", False):
                for store in (values, notes, calls):
                    store.clear()

        return start

    def _keep(self, number: int, tap: Tap) -> Callable[..., None]:
        values, notes, calls = self._values, self._notes, self._calls
        is_open, detached = self._open, self._detached

        def keep(module: nn.Module, args: Any, output: Any) -> None:
            if not is_open[0]:
                return
            value = at_place(output, tap.place)
            key = (number, -1 if value.device.index is None else value.device.index)
            if tap.calls > 1:
                call = calls.get(key, 0)
                calls[key] = call + 1
                if call != tap.call:
                    return
            values[key] = value.detach() if detached else value
            if not (torch.compiler.is_compiling() or value.is_inference()):
                notes[key] = value._version, torch.is_grad_enabled()

        return keep

    def take(self) -> list[list[torch.Tensor]]:
        """What every tap showed in the last forward pass, one tensor per device; the watch is empty then.

        Raises:
            DistillationError: If a module has not run, ran without gradients, or its result was written to since.
        """
        values, notes = dict(self._values), dict(self._notes)
        self.clear()
        for key, (version, with_gradients) in notes.items():
            self._check(self.taps[key[0]].module, values[key], version, with_gradients)
        return [self._of(number, values) for number in range(len(self.taps))]

    def _check(self, module: str, value: torch.Tensor, version: int, with_gradients: bool) -> None:
        if value._version != version:
            raise DistillationError(
                f"{self._side}: what {module} returned was overwritten by an operator in place before the loss was "
                "taken: leave this block out, or write the operator after it out of place"
            )
        if not (self._detached or with_gradients) and torch.is_grad_enabled():
            raise DistillationError(
                f"{self._side}: {module} ran without gradients (under no_grad, or checkpointed with "
                "use_reentrant=True), so that the loss would teach nothing. To evaluate, take the loss under "
                "torch.no_grad() too"
            )

    def _of(self, number: int, values: dict[Key, torch.Tensor]) -> list[torch.Tensor]:
        own = [values[key] for key in sorted(values) if key[0] == number]
        if not own:
            compiled = any("_orig_mod" in module._modules for module in self.model.modules())
            advice = "make the loss before the compiled model first runs, or call torch.compiler.reset() after it"
            raise DistillationError(
                f"{self._side}: {self.taps[number].module} has not run since the last loss: run the student and the "
                f"teacher once each, then take the loss once{f'; {advice}' if compiled else ''}"
            )
        return own

    def remove(self) -> None:
        """Take the hooks off and drop what was kept."""
        self._open[0] = False
        for handle in self.handles:
            handle.remove()
        self.clear()

    def clear(self) -> None:
        """Drop what was kept."""
        for store in (self._values, self._notes, self._calls):
            store.clear()
