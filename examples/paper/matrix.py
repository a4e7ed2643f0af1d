"""All experiments, written out as YAML files: `python -m examples.paper.matrix`.

Every file is one cell of the paper's tables and figures; cells that several tables share are one experiment. A test
checks that the files are what this module writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from examples.paper.data import IMAGE_SETS
from examples.paper.experiment import EXPERIMENTS

Content = dict[str, Any]
Named = Iterator[tuple[str, str, Content]]
"""Name, a line about it, and what the file says."""

PAIRS = {"vit_t": "vit_s", "convnext_f": "convnext_t"}
THREE = ("cifar10", "cifar100", "stl10")
COMPONENTS = ("patch-embed", "position", "attention", "norm", "mlp")
PRETRAINED = {  # table 5; the smallest of its kind
    "supervised": ("vit_t", {"model": "vit_b", "weights": "timm:vit_base_patch16_224.augreg_in21k"}),
    "clip": ("vit_t_clip", {"model": "vit_b_clip", "weights": "timm:vit_base_patch16_clip_224.openai"}),
    "mae": ("vit_t", {"model": "vit_b", "weights": "timm:vit_base_patch16_224.mae"}),
    "dino": ("vit_t", {"model": "vit_b", "weights": "timm:vit_base_patch16_224.dino"}),
}
LAYERS = {"first": "paper", "middle": "mid-layers", "last": "last-layers", "uniform": "uniform-layers"}


def select(rules: str = "paper", **more: Any) -> Content:
    """A start with values of the teacher."""
    return {"kind": "select", "rules": rules, **more}


def of(student: str, teacher: Any, start: Any, data: str, **more: Any) -> Content:
    """What a file says."""
    sides = {"student": student} | ({"teacher": teacher} if teacher else {})
    return sides | {"start": start, "data": data} | more


def published() -> Named:
    """The experiments of the paper."""
    for data in IMAGE_SETS:
        for student, teacher in PAIRS.items():
            yield f"{data}/{student}-default", "Table 2, random.", of(student, None, "default", data)
            yield f"{data}/{student}-uniform", "Table 2, weight selection.", of(student, teacher, select(), data)
    for student, teacher in PAIRS.items():
        yield from _on_cifar100(student, teacher)
        for start, line in (("default", "random"), ("uniform", "weight selection")):
            source, begin = (None, "default") if start == "default" else (teacher, select())
            content = of(student, source, begin, "imagenet1k", recipe="long")
            yield f"imagenet1k/{student}-{start}-long", f"Table 11, {line}, long.", content
            content = of(student, source, begin, "cifar100", recipe="probe", probe=True)
            yield f"cifar100/{student}-{start}-probe", f"Table 9, {line}.", content
    yield from _distilled()
    yield from _epochs()
    for data in THREE:
        for name, (student, pretrained) in PRETRAINED.items():
            content = of(student, pretrained, select(), data)
            yield f"{data}/vit_t-from-{name}", f"Table 5, teacher pretrained: {name}.", content
        for component in COMPONENTS:
            content = of("vit_t", "vit_s", select(f"without-{component}"), data)
            yield f"{data}/vit_t-without-{component}", f"Table 10, without {component}.", content
        yield f"{data}/vit_t-mimetic", "Table 12, mimetic.", of("vit_t", None, "mimetic", data)
    yield from _layers()


def _on_cifar100(student: str, teacher: str) -> Named:
    name = f"cifar100/{student}"
    for kind in ("xavier", "kaiming"):
        yield f"{name}-{kind}", f"Table 3, {kind}.", of(student, None, kind, "cifar100")
    yield f"{name}-consecutive", "Table 3, consecutive.", of(student, teacher, select("consecutive"), "cifar100")
    for rules in ("random", "random-inconsistent"):
        for draw in ("", "-1", "-2"):
            path = f"rules/{rules}{draw}.yaml" if draw else rules
            content = of(student, teacher, select(path), "cifar100")
            yield f"{name}-{rules}{draw}", "Table 3, one of three draws, of which the paper has the median.", content
    for kind in ("l1", "magnitude"):
        content = of(student, teacher, {"kind": kind, "rules": "paper"}, "cifar100")
        yield f"{name}-{kind}", f"Table 7, {kind} pruning.", content
    for ours, start in _ours().items():
        yield f"{name}-{ours}", "Not in the paper: this library's own.", of(student, teacher, start, "cifar100")


def _ours() -> dict[str, Content]:
    return {
        "engine": select("default"),
        "scored": select("rules/scored.yaml", statistics=True),
        "norms": select("rules/norms.yaml", statistics=True, calibrate=True),
        "compensated": select("rules/compensated.yaml", statistics=True, calibrate=True),
        "coupled-l1": select("rules/coupled-l1.yaml"),
    }


def _distilled() -> Named:
    logits, features = {"kind": "logits", "alpha": 1.0}, {"kind": "features", "alpha": 1.0}
    for start, line in (("default", "distilled"), (select(), "weight selection, distilled")):
        name = "default" if start == "default" else "uniform"
        content = of("vit_t", "deit_s", start, "imagenet1k", distil=logits)
        yield f"imagenet1k/vit_t-deit-{name}-logits", f"Table 4, {line}.", content
        content = of("vit_t", "vit_s", start, "cifar100", distil=features)
        yield (
            f"cifar100/vit_t-{name}-features",
            f"Table 4, {line}; the paper tuned alpha, and does not say to what.",
            content,
        )
    content = of("vit_t", "deit_s", select(), "imagenet1k")
    yield "imagenet1k/vit_t-deit-uniform", "Table 4, weight selection from the teacher of the distillation.", content


def _epochs() -> Named:
    for epochs in (50, 100, 150, 200, 250):
        recipe = {"epochs": epochs, "warmup_epochs": round(epochs / 6)}
        content = of("vit_t", "vit_s", select(), "cifar100", recipe=recipe)
        yield f"cifar100/vit_t-uniform-{epochs}", f"Figure 4a, {epochs} epochs.", content
    for epochs in (10, 20, 40, 60, 80):
        recipe = {"epochs": epochs, "warmup_epochs": round(epochs / 6)}
        content = of("vit_t", None, "default", "imagenet1k", recipe=recipe)
        yield f"imagenet1k/vit_t-default-{epochs}", f"Figure 4b, pretraining of {epochs} epochs.", content
    for epochs in (10, 20, 40, 60, 80, 300):
        source = "imagenet1k/vit_t-default" + (f"-{epochs}" if epochs < 300 else "")
        content = of("vit_t", {"model": "vit_t", "weights": f"run:{source}"}, select(), "cifar100")
        yield f"cifar100/vit_t-after-{epochs}", f"Figure 4b, after {epochs} epochs of pretraining.", content


def _layers() -> Named:
    yield "cifar100/vit_a-default", "Table 6, random.", of("vit_a", None, "default", "cifar100")
    for name in ("first", "uniform"):
        content = of("vit_a", "vit_s", select(LAYERS[name]), "cifar100")
        yield f"cifar100/vit_a-{name}-layers", f"Table 6, {name} layers.", content
    content = of("convnext_f", "convnext_t", select(LAYERS["uniform"]), "cifar100")
    yield "cifar100/convnext_f-uniform-layers", "Table 6, uniform layers.", content
    tiny = {"model": "vit_t", "weights": "timm:vit_tiny_patch16_224.augreg_in21k"}
    for name, rules in LAYERS.items():
        content = of("vit_a", tiny, select(rules), "cifar100")
        yield f"cifar100/vit_a-of-vit_t-{name}", f"Table 16, {name} layers of a network of equal width.", content
        content = of("vit_t", "vit_l", select(rules), "cifar100")
        yield f"cifar100/vit_t-from-vit_l-{name}", f"Tables 8 and 17, ViT-L, {name} layers.", content


def claimed() -> Named:
    """Networks that the paper names and does not try."""
    pairs = {"mixer_s": ("mixer_b", "cifar100"), "llama_student": ("llama_teacher", "python-source")}
    for student, (teacher, data) in pairs.items():
        name = student.removesuffix("_student")
        source: Any = teacher
        if teacher == "llama_teacher":
            yield f"{data}/llama-teacher", "A language model to select from.", of(teacher, None, "default", data)
            source = {"model": teacher, "weights": f"run:{data}/llama-teacher"}
        yield f"{data}/{name}-default", "Random.", of(student, None, "default", data)
        yield f"{data}/{name}-uniform", "Weight selection.", of(student, source, select(), data)


# -- the small setting

RATES = [2.5e-4, 7.0e-4, 2.0e-3, 6.0e-3]
SMALL: Content = {"name": "small", "stops": [5, 10, 15, 20, 30, 40, 60, 80]}
QUARTER: Content = {"epochs": 4, "warmup_epochs": 1, "stops": [5, 10, 20]}
PROBED = ("default", "paper", "engine", "scored", "norms", "compensated")
HEADS = {"vit": ["head.weight", "head.bias"], "convnext": ["head.fc.weight", "head.fc.bias"]}


def small() -> Named:
    """Teachers from scratch on MNIST's digits, students on 200 of scikit-learn's."""
    for family in HEADS:
        content = of(f"small_{family}_teacher", None, "default", "mnist5k", recipe="small-teacher")
        yield f"small/{family}-teacher", "The teacher.", content
        starts = _small_starts(family)
        for name, start in starts.items():
            content = _small(family, start, tune={"lr": RATES, "seeds": 3}, untrained=not name.endswith("-head"))
            yield f"small/{family}/{name}", "", content
            like: Content = {"tune": {"like": f"small/{family}/{name}"}}
            content = _small(family, start, **like, distil={"kind": "logits", "temperature": 2.0})
            yield f"small/{family}/{name}-distilled", "", content
            if name in ("default", "paper"):
                content = _small(family, start, **like, distil={"kind": "features", "alpha": 1.0})
                yield f"small/{family}/{name}-features", "Table 4.", content
            if name in PROBED:
                recipe = {"name": "small", "lr": 1.0e-2, "weight_decay": 0, "stops": [80]}
                yield f"small/{family}/{name}-probe", "Table 9.", _small(family, start, probe=True) | {"recipe": recipe}
        yield from _small_ablations(family)
    content = of("small_vit_teacher_192", None, "default", "mnist5k", recipe="small-teacher")
    yield "small/vit-teacher-192", "A larger teacher.", content
    content = _small(
        "vit", select("rules/flat.yaml", keep=["head.*"]), tune={"like": "small/vit/paper"}, untrained=True
    )
    content["teacher"] = {"model": "small_vit_teacher_192", "weights": "run:small/vit-teacher-192"}
    yield "small/vit/larger-teacher", "Table 8.", content


def _small(family: str, start: Any, student: str = "", **more: Any) -> Content:
    teacher = {"model": f"small_{family}_teacher", "weights": f"run:small/{family}-teacher"}
    data = {"name": "digits", "limit": 200}
    return {
        "student": student or f"small_{family}_student",
        "teacher": teacher,
        "start": start,
        "data": data,
        "recipe": SMALL,
        **more,
    }


def _small_starts(family: str) -> dict[str, Any]:
    keep = HEADS[family]
    starts: dict[str, Any] = {"default": "default", "xavier": "xavier", "kaiming": "kaiming"}
    if family == "vit":
        starts["mimetic"] = "mimetic"
    starts["paper"] = select("rules/flat.yaml", keep=["head.*"])
    ours = {name: start for name, start in _ours().items() if name != "coupled-l1"}
    starts |= {name: start | {"keep": keep} for name, start in ours.items()}
    with_head = {"paper": select("rules/flat.yaml"), **ours}
    return starts | {f"{name}-head": start for name, start in with_head.items()}


def _small_ablations(family: str) -> Named:
    like: Content = {"tune": {"like": f"small/{family}/paper"}}
    components = COMPONENTS if family == "vit" else ("patch-embed", "norm", "mlp")
    by_name = {name: f"rules/{name}.yaml" for name in ("without-patch-embed", "without-mlp")}
    for rules in ("consecutive", "random", "random-inconsistent", *(f"without-{part}" for part in components)):
        content = _small(family, select(by_name.get(rules, rules)), **like)
        yield f"small/{family}/{rules}", "Tables 3 and 10.", content
    for kind in ("l1", "magnitude"):
        yield f"small/{family}/{kind}", "Table 7.", _small(family, {"kind": kind, "rules": "paper"}, **like)
    for name in ("engine", "scored", "compensated"):
        tune = {"lr": RATES, "seeds": 3}
        content = _small(family, _ours()[name], tune=tune) | {"recipe": SMALL | QUARTER}
        yield f"small/{family}/{name}-head-quarter", "A quarter of the steps, with a schedule of their own.", content
    content = _small(family, select("rules/coupled-l1.yaml", keep=HEADS[family]), **like)
    yield f"small/{family}/coupled-l1", "L1 norms that keep coupled groups together.", content
    if family == "convnext":
        for name in ("last", "uniform"):
            yield f"small/convnext/{name}-layers", "Table 6.", _small(family, select(LAYERS[name]), **like)
        return
    tune = {"like": "small/vit/default"}
    yield "small/vit/shallow-default", "Table 6.", _small(family, "default", "small_vit_shallow", tune=tune)
    for name, rules in LAYERS.items():
        content = _small(family, select(rules), "small_vit_shallow", **like)
        yield f"small/vit/shallow-{name}", "Tables 6 and 16.", content


def everything() -> dict[str, str]:
    """The text of every file, by its experiment's name."""
    found: dict[str, str] = {}
    for name, line, content in (*published(), *claimed(), *small()):
        text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120)
        if name in found:
            raise ValueError(f"two experiments are called {name}")
        found[name] = (f"# {line}\n" if line else "") + text
    return found


def main() -> None:
    """Write all files."""
    for name, text in everything().items():
        path: Path = EXPERIMENTS / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
