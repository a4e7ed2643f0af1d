"""Models by name, their arguments, and the inputs that are found for them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import wsel_graph as ws
from wsel_graph.cli.models import Named, read_arguments
from wsel_graph.errors import ExampleInputsError

from .conftest import filled

TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}


def shapes(inputs: Any) -> Any:
    """The same structure with shapes instead of tensors."""
    if isinstance(inputs, Mapping):
        return {key: shapes(value) for key, value in inputs.items()}
    if isinstance(inputs, (tuple, list)):
        return [shapes(value) for value in inputs]
    return tuple(inputs.shape)


# -- inputs


@pytest.mark.parametrize(
    ("spec", "arguments", "expected"),
    [
        pytest.param("timm:resnet18", {}, [(2, 3, 224, 224)], id="timm"),
        pytest.param("timm:inception_v4", {}, [(2, 3, 299, 299)], id="timm, its own size"),
        pytest.param("timm:test_vit", {"img_size": 64, "in_chans": 1}, [(2, 1, 64, 64)], id="timm, arguments"),
        pytest.param("timm:test_vit", {"img_size": [64, 96]}, [(2, 3, 64, 96)], id="timm, oblong"),
        pytest.param("torchvision:squeezenet1_1", {}, [(2, 3, 224, 224)], id="torchvision"),
        pytest.param("torchvision:raft_small", {}, [(2, 3, 128, 128)] * 2, id="two images"),
        pytest.param("torchvision:r3d_18", {}, [(2, 3, 16, 112, 112)], id="clips"),
        pytest.param("torchvision:s3d", {}, [(1, 3, 16, 224, 224)], id="large clips"),
        pytest.param("torchvision:lraspp_mobilenet_v3_large", {}, [(2, 3, 224, 224)], id="segmentation"),
        pytest.param(
            "torchvision:ssdlite320_mobilenet_v3_large", {}, [[(3, 224, 224)] * 2], id="detection takes a list"
        ),
    ],
)
def test_inputs_of_image_models(
    spec: str, arguments: dict[str, Any], expected: object, libraries: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", lambda *_, **__: pytest.fail("a download"))
    named = Named(spec, arguments)
    assert shapes(named.inputs(named.build())) == expected


VISION = {**TINY, "image_size": 32, "patch_size": 8}
CASES = [
    pytest.param("bert", TINY, {"input_ids": (2, 16)}, id="text"),
    pytest.param("bert", {**TINY, "max_position_embeddings": 9}, {"input_ids": (2, 9)}, id="short text"),
    pytest.param("vit", VISION, {"pixel_values": (2, 3, 32, 32)}, id="images"),
    pytest.param(
        "videomae", {**VISION, "num_frames": 4}, {"pixel_values": (2, 4, 3, 32, 32)}, id="clips, frames first"
    ),
    pytest.param(
        "t5", {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2},
        {"input_ids": (2, 16), "decoder_input_ids": (2, 7)}, id="text to text",
    ),
    pytest.param(
        "whisper",
        {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "num_mel_bins": 20,
         "decoder_attention_heads": 2, "max_source_positions": 12},
        {"input_features": (2, 20, 24), "decoder_input_ids": (2, 7)}, id="spectrograms",
    ),
    pytest.param(
        "clip", {"text_config": {**TINY, "vocab_size": 97}, "vision_config": VISION},
        {"input_ids": (2, 16), "pixel_values": (2, 3, 32, 32)}, id="images and text",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "config", "expected"), CASES)
def test_inputs_of_transformers(kind: str, config: dict[str, Any], expected: object, libraries: None) -> None:
    named = Named(f"hf:{kind}", config)
    model = named.build()
    inputs = named.inputs(model)
    assert shapes(inputs) == expected
    assert ws.trace(model, inputs).unknown_ops == {}


def test_mixtures_of_experts_run_in_float64(libraries: None) -> None:
    options = {"num_key_value_heads": 1, "vocab_size": 97, "bos_token_id": 1, "eos_token_id": 2}
    named = Named("hf:mixtral", {**TINY, **options})
    model = named.build()
    assert ws.verify(model, named.inputs(model)).ok


def test_tokens_avoid_special_ones(libraries: None) -> None:
    named = Named("hf:bert", {**TINY, "vocab_size": 9, "pad_token_id": 6})
    tokens = named.inputs(named.build())["input_ids"]
    assert set(tokens.flatten().tolist()) == {5, 7, 8}


def test_unknown_main_inputs(libraries: None) -> None:
    named = Named("hf:vits", {})
    model = torch.nn.Linear(2, 2)
    model.config, model.main_input_name = object(), "mystery"  # type: ignore[assignment]
    assert named.inputs(model) is None


# -- names


def test_hf_folders(tmp_path: Path, libraries: None) -> None:
    import transformers

    made = filled(transformers.ViTForImageClassification(transformers.ViTConfig(**VISION, num_labels=3)))
    made.save_pretrained(tmp_path)
    for name in (tmp_path, tmp_path / "config.json"):
        model = Named(f"hf:{name}", {}).build()
        assert type(model) is transformers.ViTForImageClassification
        assert model.state_dict().keys() == made.state_dict().keys()
    assert not torch.equal(model.state_dict()["classifier.weight"], made.state_dict()["classifier.weight"])
    loaded = Named(f"hf:{tmp_path}", {"pretrained": True}).build()
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), made.parameters(), strict=True))
    wider = Named(f"hf:{tmp_path}", {"hidden_size": 32}).build()
    assert wider.state_dict()["classifier.weight"].shape == (3, 32)


def test_the_seed_decides_random_values(libraries: None) -> None:
    first, again, other = (Named("timm:test_vit", {}).build(seed) for seed in (1, 1, 2))
    assert torch.equal(first.state_dict()["head.weight"], again.state_dict()["head.weight"])
    assert not torch.equal(first.state_dict()["head.weight"], other.state_dict()["head.weight"])


def test_modules_beside_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nearby_nets.py").write_text(
        "from torch import nn\n\nclass Nets:\n    net = staticmethod(lambda: nn.ReLU())"
    )
    (tmp_path / "uses.py").write_text("from nearby_nets import Nets\nnet = Nets.net")
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    assert type(Named("nearby_nets:Nets.net", {}).build()) is torch.nn.ReLU
    assert type(Named("uses.py:net", {}).build()) is torch.nn.ReLU
    assert sys.path == path


@pytest.mark.parametrize(
    ("spec", "arguments", "random"),
    [
        ("timm:resnet18", {}, True),
        ("timm:resnet18", {"pretrained": False}, True),
        ("timm:resnet18", {"pretrained": True}, False),
        ("timm:resnet18", {"checkpoint_path": "a.pth"}, False),
        ("torchvision:resnet18", {"weights": "DEFAULT"}, False),
        ("nets.py:make", {}, False),
    ],
)
def test_which_models_are_random(spec: str, arguments: dict[str, Any], random: bool) -> None:
    assert Named(spec, arguments).random is random


def test_torchvision_weights(libraries: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import models

    asked: list[object] = []
    monkeypatch.setattr(models, "get_model", lambda name, **options: asked.append(options) or torch.nn.ReLU())
    Named("torchvision:resnet18", {}).build()
    Named("torchvision:resnet18", {"pretrained": True}).build()
    Named("torchvision:fcn_resnet50", {}).build()
    assert asked == [{"weights": None}, {"weights": "DEFAULT"}, {"weights": None, "weights_backbone": None}]


# -- refusals


@pytest.mark.parametrize(
    ("spec", "arguments", "said"),
    [
        pytest.param("timm:resnet19", {}, r"timm has no model named 'resnet19'; did you mean resnet1", id="timm"),
        pytest.param("timm:resnet18", {"depht": 1}, r"timm:resnet18 raised TypeError: .*depht", id="timm argument"),
        pytest.param("torchvision:vgg10", {}, r"torchvision has no model named 'vgg10'; did you mean vgg", id="vision"),
        pytest.param("hf:bertt", {}, r"transformers has no model type 'bertt'; did you mean bert", id="type"),
        pytest.param(
            "hf:bert", {"hidden_sise": 1}, r"configuration has no 'hidden_sise'; did you mean hidden_size", id="key"
        ),
        pytest.param("hf:no/such", {}, r"hf:no/such: there is no file no/such", id="folder"),
        pytest.param("hf:bert", {"pretrained": True}, r"pretrained=true needs a folder with config", id="weights"),
        pytest.param(
            "hf:bert", {"architectures": ["Mine"]}, r"no class 'Mine', which `architectures` names", id="own class"
        ),
        pytest.param("resnet18", {}, r"'resnet18' names no model: write package\.module:callable", id="no source"),
        pytest.param("timm:", {}, r"'timm:' names no model", id="no name"),
        pytest.param("torch.nn:Lienar", {}, r"torch\.nn has no callable named 'Lienar'; did you mean Lin", id="near"),
    ],
)  # fmt: skip
def test_refused(spec: str, arguments: dict[str, Any], said: str, libraries: None) -> None:
    with pytest.raises(ExampleInputsError, match=said):
        Named(spec, arguments).build()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("{", r"config\.json cannot be read", id="json"),
        pytest.param(json.dumps({"hidden_size": 3}), r"config\.json names no model_type", id="type"),
    ],
)
def test_configurations_that_are_none(text: str, said: str, tmp_path: Path, libraries: None) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ExampleInputsError, match=said):
        Named(f"hf:{tmp_path}", {}).build()


def test_a_library_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ExampleInputsError, match=r"timm cannot be imported: .*timm.*; install timm"):
        Named("timm:resnet18", {}).build()


def test_a_library_that_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_library.py").write_text("raise OSError('undefined symbol')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ExampleInputsError, match=r"broken_library cannot be imported: OSError: undefined symbol"):
        Named("broken_library:net", {}).build()


def test_an_installed_library_that_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    with pytest.raises(ExampleInputsError, match=r"RuntimeError: operator nms .*; perhaps its version does not fit"):
        Named("timm:resnet18", {}).build()


def test_a_file_that_failed_may_be_mended(tmp_path: Path) -> None:
    file = tmp_path / "mended.py"
    file.write_text("raise ValueError('not yet')")
    with pytest.raises(ExampleInputsError, match=r"mended\.py raised ValueError: not yet"):
        Named(f"{file}:net", {}).build()
    file.write_text("from torch.nn import ReLU as net  # mended")
    assert type(Named(f"{file}:net", {}).build()) is torch.nn.ReLU


# -- arguments


@pytest.mark.parametrize(
    ("items", "said"),
    [
        pytest.param(["depth"], r"'depth' is no argument: write KEY=VALUE", id="no value"),
        pytest.param(["=2"], r"'=2' is no argument", id="no key"),
        pytest.param(["a=1", "a=2"], r"the argument 'a' is given twice: 1 and '2'", id="twice"),
    ],
)
def test_bad_arguments(items: list[str], said: str) -> None:
    with pytest.raises(ExampleInputsError, match=said):
        read_arguments(items)


@pytest.mark.parametrize(
    ("text", "value"),
    [("2", 2), ("-1.5", -1.5), ("true", True), ("True", True), ("None", None), ("a=b", "a=b"), ('"2"', "2"), ("", "")],
)
def test_argument_values(text: str, value: object) -> None:
    found = read_arguments([f"key={text}"])["key"]
    assert found == value
    assert type(found) is type(value)
