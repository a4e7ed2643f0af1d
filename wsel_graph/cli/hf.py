"""transformers: a model from a configuration, and inputs that fit it. Nothing is downloaded, ever.

`hf:NAME` is a folder that holds `config.json`, the file itself, or a model type such as `vit`. The class is the
one that `architectures` names, else the bare model of the type.
"""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wsel_graph.cli.hubs import BATCH, noise
from wsel_graph.cli.load import import_named, near
from wsel_graph.errors import ExampleInputsError

PLAIN: Mapping[str, Any] = {"experts_implementation": "eager"}
"""The usual kernel for mixtures of experts has no float64, in which groups are verified."""

LENGTH = 16
"""Tokens of a text."""

SHORT = 7
"""Tokens for a decoder: another number, so that the two lengths are not taken for one."""


def build_hf(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """A model with random weights; `pretrained=true` loads those that lie in the folder."""
    transformers = import_named("transformers")
    transformers.utils.logging.disable_progress_bar()  # the command shows its own
    options = dict(arguments)
    pretrained = options.pop("pretrained", False)
    config = _config(transformers, name, options)
    kind = _class(transformers, name, config)
    if pretrained:
        if not Path(name).is_dir():
            raise ExampleInputsError(f"hf:{name}: pretrained=true needs a folder with config.json and weights")
        model = kind.from_pretrained(name, config=config, local_files_only=True)
    elif kind is transformers.AutoModel:
        model = kind.from_config(config)
    else:
        model = kind(config)
    model.config.use_cache = False  # a cache would be one more output
    return model  # type: ignore[no-any-return]


def _config(transformers: Any, name: str, options: dict[str, Any]) -> Any:
    file = Path(name) / "config.json" if Path(name).is_dir() else Path(name)
    if file.is_file():
        given = _read_config(file)
    elif file.suffix or "/" in name:
        raise ExampleInputsError(
            f"hf:{name}: there is no file {file}: name a folder with config.json, the file, or a model type such as vit"
        )
    else:
        given = {"model_type": name}
    kind = given.pop("model_type", None)
    known = transformers.models.auto.configuration_auto.CONFIG_MAPPING
    if kind not in known:
        hint = near(str(kind), known.keys()) or "; write one such as vit, or a folder that holds config.json"
        raise ExampleInputsError(f"hf:{name}: transformers has no model type {kind!r}{hint}")
    usual = transformers.AutoConfig.for_model(kind)
    for key in options:
        known_key = hasattr(usual, key) or key.endswith(("_token_id", "_implementation"))
        if not known_key:  # a configuration takes any key, and a misspelt one would change nothing
            raise ExampleInputsError(f"hf:{name}: a {kind} configuration has no {key!r}{near(key, usual.to_dict())}")
    return transformers.AutoConfig.for_model(kind, **{**PLAIN, **given, **options})


def _read_config(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExampleInputsError(f"{file} cannot be read: {error}") from error
    if not isinstance(found, dict) or "model_type" not in found:
        raise ExampleInputsError(
            f"{file} names no model_type: it is no configuration of transformers. Write one with "
            "config.save_pretrained(FOLDER)"
        )
    return found


def _class(transformers: Any, name: str, config: Any) -> Any:
    names = getattr(config, "architectures", None)
    if not names:
        return transformers.AutoModel
    if not hasattr(transformers, names[0]):
        raise ExampleInputsError(
            f"hf:{name}: transformers has no class {names[0]!r}, which `architectures` names. If its code came with "
            "the checkpoint, write a file with a function that builds it, and name FILE.py:FUNCTION."
        )
    return getattr(transformers, names[0])


# -- a folder

TEXT_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt", "merges.txt",
              "special_tokens_map.json", "added_tokens.json", "spiece.model", "sentencepiece.bpe.model",
              "chat_template.jinja")  # fmt: skip
"""What a tokenizer is written in."""

IMAGE_FILES = ("preprocessor_config.json", "processor_config.json")
"""How images and sounds are prepared."""


def write_hf(model: nn.Module, folder: Path, teacher: Path | None, max_shard_size: str | None = None) -> list[str]:
    """Write a student as a folder that `from_pretrained` loads: configuration, weights, and the teacher's tokenizer.

    The library writes configuration and weights itself, so that names are as it reads them.

    Args:
        model: A model that `build_hf` made.
        folder: Made where it does not exist.
        teacher: The teacher's folder; its tokenizer is taken where the vocabularies are equal, and how it prepares
            images. None where there is none.
        max_shard_size: More bytes than that, such as "5GB", go into several files; None for the library's own limit.
    Returns:
        Names of the files that were copied from the teacher's folder.
    """
    writing: Any = model
    usual = type(writing.config)()
    writing.config.use_cache = getattr(usual, "use_cache", True)  # `build_hf` turned it off
    try:
        writing.save_pretrained(folder, **({} if max_shard_size is None else {"max_shard_size": max_shard_size}))
    finally:
        writing.config.use_cache = False
    if teacher is None or not (teacher / "config.json").is_file():
        return []
    theirs = _read_config(teacher / "config.json")
    texts = TEXT_FILES if theirs.get("vocab_size") == getattr(writing.config, "vocab_size", None) else ()
    copied = [name for name in (*texts, *IMAGE_FILES) if (teacher / name).is_file()]
    for name in copied:
        shutil.copyfile(teacher / name, folder / name)
    return copied


# -- inputs


def hf_inputs(model: nn.Module) -> dict[str, torch.Tensor] | None:
    """Keyword arguments for the model's forward, from its configuration; None if the main input is not known."""
    config: Any = model.config
    main = str(getattr(model, "main_input_name", "input_ids"))
    if main not in _MAKERS:
        return None
    inputs = {main: _MAKERS[main](config)}
    seeing = any(hasattr(config, name) for name in ("vision_config", "image_size"))
    if seeing and "pixel_values" in inspect.signature(model.forward).parameters:
        inputs["pixel_values"] = _pixels(config)
    if main == "pixel_values" and _part(config, "text_config", None) is not None:
        inputs["input_ids"] = _tokens(LENGTH, config)
    if getattr(config, "is_encoder_decoder", False):
        inputs["decoder_input_ids"] = _tokens(SHORT, config)
    return inputs


def _part(config: Any, name: str, default: Any) -> Any:
    return getattr(config, name, default)


def _value(config: Any, name: str, default: Any) -> Any:
    """A setting of the configuration, or of a part of it."""
    parts = (config, *(_part(config, f"{part}_config", None) for part in ("text", "vision", "audio", "encoder")))
    found = (getattr(part, name, None) for part in parts if part is not None)
    return next((value for value in found if value is not None), default)


def _tokens(length: int, config: Any) -> torch.Tensor:
    """Tokens that have no special meaning: none below 5, none that the configuration names."""
    size, longest = _value(config, "vocab_size", 100), _value(config, "max_position_embeddings", length)
    parts = (config, *(_part(config, f"{part}_config", None) for part in ("text", "vision", "audio")))
    settings = {key: value for part in parts if part is not None for key, value in vars(part).items()}
    special = {value for key, value in settings.items() if key.endswith(("token_id", "token_index"))}
    plain = [token for token in range(min(5, size - 1), min(size, 1000)) if token not in special]
    picks = torch.randint(
        0, len(plain), (BATCH, max(1, min(length, longest))), generator=torch.Generator().manual_seed(0)
    )
    return torch.tensor(plain)[picks]


def _pixels(config: Any) -> torch.Tensor:
    size = _value(config, "image_size", 224)
    height, width = (size, size) if isinstance(size, int) else tuple(size)[-2:]
    channels = _value(config, "num_channels", 3)
    frames = getattr(config, "num_frames", None)
    if frames:
        return noise(BATCH, frames, channels, height, width)
    return noise(BATCH, channels, height, width)


def _features(config: Any) -> torch.Tensor:
    """Spectrograms: whole windows of `num_mel_bins` by frames where the encoder has a fixed length, else short ones."""
    if width := getattr(config, "feature_projection_input_dim", None) or getattr(
        config, "input_feat_per_channel", None
    ):
        return noise(BATCH, 4 * LENGTH, width)
    frames = 2 * _value(config, "max_source_positions", LENGTH)
    return noise(BATCH, _value(config, "num_mel_bins", 80), frames)


def _wave_or_spectrogram(config: Any) -> torch.Tensor:
    if (bins := getattr(config, "num_mel_bins", None)) and (frames := getattr(config, "max_length", None)):
        return noise(BATCH, frames, bins)
    return noise(BATCH, 4000)


def _series(config: Any) -> torch.Tensor:
    return noise(BATCH, _value(config, "context_length", LENGTH), _value(config, "num_input_channels", 1))


_MAKERS: Mapping[str, Callable[[Any], torch.Tensor]] = {
    "input_ids": partial(_tokens, LENGTH),
    "pixel_values": _pixels,
    "pixel_values_videos": _pixels,
    "input_features": _features,
    "input_values": _wave_or_spectrogram,
    "past_values": _series,
}
"""Main inputs by their name in transformers."""
