"""The command line: exit codes, output, and what it says when it refuses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from wsel_graph.cli.inputs import parse_inputs
from wsel_graph.cli.main import main
from wsel_graph.errors import ExampleInputsError

from .conftest import Run


def test_verify_a_callable_in_a_file(models: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", f"{models}:mlp", "--input", "2x4"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("verified: 1 of 3 coupled groups permuted, largest relative error")
    assert "(limit 1e-09, float64)" in out


def test_arguments_and_groups(models: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", f"{models}:mlp", "--input", "2x4", "--arg", "width=12", "--groups"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["12", "hidden", "free", "0.weight:0,", "0.bias:0,", "2.weight:1"] in rows


def test_json(models: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", f"{models}:Ids", "--input", "ids=1x3:int64", "--json", "--seed", "5"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is True
    assert found["max_error"] < 1e-9
    assert (found["groups"], found["permuted"], found["unknown_ops"]) == (3, 1, [])


def test_named_inputs(models: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", f"{models}:Ids", "--input", "ids=1x3:int64", "--input", "scale=2"]) == 0
    assert capsys.readouterr().out.startswith("verified")


def test_a_dotted_module_and_a_package_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "torch.nn:Bilinear", "--arg", "in1_features=3", "--arg", "in2_features=4",
                 "--arg", "out_features=2", "--input", "5x3", "--input", "5x4"]) == 0  # fmt: skip
    assert capsys.readouterr().out.startswith("verified")


def test_a_model_that_cannot_be_verified(models: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", f"{models}:Mad", "--input", "2x4"]) == 1
    assert capsys.readouterr().out.startswith("NOT verified: 1 of 3 coupled groups permuted")


REFUSED = [
    pytest.param(["{}:nothing", "--input", "2x4"], r"models\.py has no callable named 'nothing'", id="name"),
    pytest.param(["{}:number", "--input", "2x4"], r"number gave a int, not an nn\.Module", id="no module"),
    pytest.param(["{}:fails", "--input", "2x4"], r"fails raised RuntimeError: no such weights", id="raises"),
    pytest.param(["{}:mlp", "--input", "2x4", "--arg", "blocks=3"], r"mlp raised TypeError.*blocks", id="argument"),
    pytest.param(["mlp", "--input", "2x4"], r"'mlp' names no model: write package\.module:callable", id="no source"),
    pytest.param(["nowhere.py:mlp", "--input", "2x4"], r"there is no file nowhere\.py", id="no file"),
    pytest.param(["no_such_package:mlp", "--input", "2x4"], r"no_such_package cannot be imported", id="no package"),
    pytest.param(["{}:mlp"], r"the inputs of .*:mlp are not known: give them as --input 2x3x224x224", id="no input"),
    pytest.param(["{}:mlp", "--input", "2x5"], r"RuntimeError in module 0 \(Linear\)", id="wrong shape"),
    pytest.param(["{}:mlp", "--input", "2xfour"], r"'2xfour' is no input: write sizes joined by x", id="shape"),
    pytest.param(["{}:mlp", "--input", "2x4:float99"], r"'2x4:float99' is no input", id="dtype"),
    pytest.param(
        ["{}:Ids", "--input", "ids=1x3:int64", "--input", "2"], r"name of its own .* or none", id="half named"
    ),
]


@pytest.mark.parametrize(("arguments", "text"), REFUSED)
def test_refused(arguments: list[str], text: str, models: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", *(argument.format(models) for argument in arguments)]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("refused: ")
    assert re.search(text, shown.err)


@pytest.mark.parametrize(
    "arguments",
    [[], ["verify"], ["prune", "m:f"], ["verify", "m:f", "--input", "2", "--seed", "x"]],
    ids=["nothing", "no model", "unknown command", "bad seed"],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: wsel-graph")


def test_inspect_shows_axes_and_groups(models: str, run: Callable[..., Run]) -> None:
    done = run("inspect", f"{models}:Norm", "--input", "2x3x8x8")
    assert done.code == 0
    assert done.out.startswith(f"{models}:Norm: 258 parameters in 6 tensors, ")
    rows = done.lines()
    assert ["conv.weight", "8x3x3x3", "hidden", "input", "kernel1", "kernel2"] in rows
    assert ["bn.running_var", "8", "hidden", "buffer"] in rows
    assert ["3", "input", "pinned:", "input", "input_0", "1:", "conv.weight:1"] in rows
    assert (
        "Never selected from (integers, and buffers of constants): steps, scratch, bn.num_batches_tracked" in done.out
    )


def test_inspect_json(models: str, run: Callable[..., Run]) -> None:
    found = run("inspect", f"{models}:Tied", "--input", "2x3:int64", "--json").json
    assert found["tensors"] == [
        {
            "name": "embed.weight", "names": ["embed.weight", "head.weight"], "kind": "parameter", "dtype": "float32",
            "shape": [11, 8], "axes": "vocabulary hidden", "use": "weight of aten::embedding",
        }
    ]  # fmt: skip
    members = [[(member["tensor"], member["dim"]) for member in group["members"]] for group in found["groups"]]
    assert members == [[("embed.weight", 0)], [("embed.weight", 1)]]
    assert [group["free"] for group in found["groups"]] == [False, True]
    assert [group["pinned"] for group in found["groups"]] == ["vocabulary", None]
    assert (found["parameters"], found["free_fraction"], found["unknown_ops"]) == (88, 1.0, {})


MIXES = """
import torch
from torch import nn


@torch.library.custom_op("wsel_cli_test::mix", mutates_args=())
def mix(x: torch.Tensor) -> torch.Tensor:
    return x + x.mean(-1, keepdim=True)


@mix.register_fake
def _(x):
    return torch.empty_like(x)


class Mixes(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.b(mix(self.a(x)))
"""


def test_inspect_teaches_unknown_operators(run: Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "mixes.py").write_text(MIXES)
    name = f"{tmp_path / 'mixes.py'}:Mixes"
    done = run("inspect", name, "--input", "2x4")
    assert "wsel_cli_test::mix.default has no propagation rule: its axes are pinned. This would teach it:" in done.out
    assert "@ws.propagates(" in done.out
    assert list(run("inspect", name, "--input", "2x4", "--json").json["unknown_ops"]) == ["wsel_cli_test::mix.default"]


def test_library_models_need_no_input(run: Callable[..., Run], libraries: None) -> None:
    options = ("--arg", "img_size=32", "--arg", "depth=1", "--arg", "num_classes=5")
    done = run("verify", "timm:vit_tiny_patch16_224", *options, "--json")
    assert done.code == 0
    assert done.json["ok"] is True
    shown = run("inspect", "timm:vit_tiny_patch16_224", *options)
    assert ["blocks.0.attn.qkv.weight", "576x192", "(3", "heads", "head_dim)", "embed"] in shown.lines()


def test_as_a_program(models: str) -> None:
    command = [sys.executable, "-m", "wsel_graph.cli", "verify", f"{models}:mlp", "--input", "2x5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("refused: the model raised RuntimeError")
    assert "The attempt on the meta device had failed with" in done.stderr


@pytest.mark.parametrize(
    ("texts", "shapes", "dtype"),
    [
        pytest.param(["2x3"], [(2, 3)], torch.float32, id="one"),
        pytest.param(["2", "1x1"], [(2,), (1, 1)], torch.float32, id="two"),
        pytest.param(["4:int64"], [(4,)], torch.int64, id="integers"),
        pytest.param(["4:bool"], [(4,)], torch.bool, id="masks"),
        pytest.param(["4:bfloat16"], [(4,)], torch.bfloat16, id="half"),
    ],
)
def test_inputs(texts: list[str], shapes: list[tuple[int, ...]], dtype: torch.dtype) -> None:
    tensors = parse_inputs(texts)
    assert [tuple(tensor.shape) for tensor in tensors] == shapes
    assert {tensor.dtype for tensor in tensors} == {dtype}
    assert all(torch.equal(a, b) for a, b in zip(tensors, parse_inputs(texts), strict=True))


def test_half_named_inputs_are_refused() -> None:
    with pytest.raises(ExampleInputsError, match="give every input a name of its own"):
        parse_inputs(["a=2", "a=3"])
