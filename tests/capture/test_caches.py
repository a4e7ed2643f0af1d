"""Caches of functions: a recording shows how their values are made, whatever ran before it."""

import functools
import sys
from types import ModuleType

import pytest
import torch
from torch import nn

import wsel_graph as ws
from wsel_graph.capture.caches import without_caches
from wsel_graph.capture.trace import capture


@functools.lru_cache
def waves_of_this_file(size: int) -> torch.Tensor:
    return torch.sin(torch.arange(size) * 0.1)


def remembering(function):
    """A decorator with the cache in its closure, as transformers has one."""
    cached = functools.lru_cache(function)

    @functools.wraps(function)
    def call(*given):
        return cached(*given)

    call.cached = cached
    return call


class OfTheFile(nn.Module):
    def waves(self, size):
        return waves_of_this_file(size)

    def __init__(self, width: int = 8):
        super().__init__()
        self.first, self.second = nn.Linear(4, width), nn.Linear(width, 3)

    def forward(self, x):
        return self.second(self.first(x) + self.waves(self.first.out_features))


class Method(OfTheFile):
    @functools.lru_cache  # noqa: B019 - as models are written
    def waves(self, size):
        return torch.sin(torch.arange(size) * 0.1)


class Static(OfTheFile):
    @staticmethod
    @functools.lru_cache
    def waves(size):
        return torch.sin(torch.arange(size) * 0.1)


class OfTheClass(OfTheFile):
    @classmethod
    @functools.lru_cache
    def waves(cls, size):
        return torch.sin(torch.arange(size) * 0.1)


class Decorated(OfTheFile):
    @remembering
    def waves(self, size):
        return torch.sin(torch.arange(size) * 0.1)


KINDS = (OfTheFile, Method, Static, OfTheClass, Decorated)
INPUTS = torch.randn(2, 4)


def operators(model):
    return [str(node.target) for node in capture(model, INPUTS).graph.nodes]


def is_cached(kind):
    model = kind()
    return model.waves(5) is model.waves(5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cache_does_not_answer_a_recording(kind):
    model = kind()
    fresh = operators(model)
    model(INPUTS)
    again = operators(model)
    assert again == fresh
    assert any("sin" in name for name in fresh)


@pytest.mark.parametrize("kind", KINDS)
def test_caches_are_as_they_were(kind):
    model = kind()
    held = model.waves(model.first.out_features)
    ws.trace(model, INPUTS)
    assert model.waves(model.first.out_features) is held
    assert is_cached(kind)


def test_nothing_of_a_recording_gets_into_a_cache():
    waves_of_this_file.cache_clear()
    ws.trace(OfTheFile(), INPUTS)
    assert waves_of_this_file.cache_info().currsize == 0


def test_caches_are_back_after_an_error():
    before = waves_of_this_file
    with pytest.raises(ZeroDivisionError), without_caches(OfTheFile()):
        raise ZeroDivisionError
    assert waves_of_this_file is before


@pytest.mark.parametrize("kind", KINDS)
def test_a_teacher_that_has_run_initialises_a_student_that_has_not(kind):
    """Otherwise the teacher adds a constant, where the student adds what it computes."""
    teacher, student = kind(8), kind(8)
    teacher(INPUTS)
    ws.initialize(student, teacher, INPUTS)
    torch.testing.assert_close(student(INPUTS), teacher(INPUTS))
    assert not ws.plan(kind(6), teacher, INPUTS).kept


def test_a_dictionary_of_results_is_recorded_as_it_is():
    """Only functools' caches are known: README, Limits."""
    file = ModuleType("file_with_a_dictionary")
    sys.modules[file.__name__] = file
    exec(
        "import torch\nHELD = {}\n"
        "def waves(self, size):\n"
        "    if size not in HELD: HELD[size] = torch.sin(torch.arange(size) * 0.1)\n"
        "    return HELD[size]\n",
        vars(file),
    )
    kind = type("Own", (OfTheFile,), {"waves": file.waves, "__module__": file.__name__})
    try:
        model = kind()
        model(INPUTS)
        assert not any("sin" in name for name in operators(model))
    finally:
        del sys.modules[file.__name__]
