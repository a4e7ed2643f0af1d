"""The harness that compares starts: its arithmetic against known numbers, its runs on a network of two layers."""

from __future__ import annotations

import doctest
import json
import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.starts import crepe, interval, methods, mimetic, minilm, readme, run, sentences, table
from examples.starts.interval import mean_interval, t_quantile
from examples.starts.methods import METHODS, RANDOM, Given, Method
from examples.starts.network import Batch, Training, stream
from examples.starts.rows import VALIDATION_LOSS, Row, append_rows, best_rates, read_rows
from examples.starts.training import train, validation_loss
from tests.zoo import torchvision_stub
from wsel_graph.demo import pitch
from wsel_graph.errors import PlanError, WselError

ROW = Row("net", "random", 0, "", 0, "hits", 0.5, 1.0, {"torch": "2"}, "2026-01-02")


@pytest.mark.parametrize("module", [interval, minilm, sentences], ids=lambda module: module.__name__)
def test_doctests(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize(
    ("freedom", "level", "expected"),  # from printed tables of the t distribution
    [(1, 0.95, 12.706205), (2, 0.95, 4.302653), (4, 0.95, 2.776445), (9, 0.95, 2.262157), (30, 0.95, 2.042272)]
    + [(1, 0.99, 63.656741), (4, 0.99, 4.604095), (7, 0.9, 1.894579)],
)
def test_t_quantile(freedom: int, level: float, expected: float) -> None:
    assert t_quantile(freedom, level) == pytest.approx(expected, abs=1e-6)


def test_mean_interval_by_hand() -> None:
    # deviations -2, 0, 2: variance 8 / 2 = 4, so the mean's is 4 / 3
    assert mean_interval([1.0, 3.0, 5.0]) == pytest.approx((3.0, 4.302653 * (4 / 3) ** 0.5), abs=1e-5)
    assert mean_interval([0.25] * 5) == (0.25, 0.0)
    assert mean_interval([7.0]) == (7.0, float("inf"))
    with pytest.raises(ValueError, match="the mean of no values"):
        mean_interval([])


def _row(method: str, value: float, seed: int = 0, step: int = 0, rate: str = "", measure: str = "hits") -> Row:
    return replace(ROW, method=method, value=value, seed=seed, step=step, training=rate, measure=measure)


def known_rows() -> list[Row]:
    rows = [_row("teacher", 0.9)]
    rows += [_row(RANDOM, value, seed) for seed, value in enumerate([0.0, 0.1, 0.2])]
    rows += [_row("paper", 0.3, seed) for seed in range(3)] + [_row("default", 0.7, seed) for seed in range(3)]
    rows += [_row("default", 5.0, 100, 3, "tuning 0.01", VALIDATION_LOSS)]
    for step, values in ((10, (0.2, 0.4, 0.8)), (40, (0.6, 0.5, 0.85))):
        for method, value in zip((RANDOM, "paper", "default"), values, strict=True):
            rows += [_row(method, value + 0.01 * seed, seed, step, "0.001") for seed in range(3)]
    return rows


def test_tables_of_known_numbers() -> None:
    found = table.tables(known_rows())
    # kept: (0.3 - 0.1) / (0.9 - 0.1) = 0.25 and 0.6 / 0.8 = 0.75; t(2) = 4.302653, deviations 0.1 and 0.01
    after = "0.610 ± 0.025 | 0.510 ± 0.025 | 0.860 ± 0.025 (default; apart) | 0 of 40"
    assert f"| net | 0.25 | 0.75 (default) | 3.0 | {after} |" in found
    assert f"| {RANDOM} | 0.100 ± 0.248 | 0.00 | 3 | 1.0 |" in found
    assert "| default | 0.700 ± 0.000 | 0.75 | 3 | 1.0 |" in found
    assert "| paper | 0.001 | 0.410 ± 0.025 | 0.510 ± 0.025 | - | 3 | 1.0 |" in found
    assert f"| {RANDOM} | 0.001 | 0.210 ± 0.025 | 0.610 ± 0.025 | 40 | 3 | 1.0 |" in found
    assert VALIDATION_LOSS not in found


def test_a_best_start_within_the_others_interval_is_not_apart() -> None:
    wide = [_row("paper", 0.61 + seed, seed, 40, "0.001") for seed in range(3)]
    rows = [row for row in known_rows() if (row.method, row.step) != ("paper", 40)] + wide
    assert "(default; not apart)" in table.tables(rows)


def test_measures_below_zero() -> None:
    below = [replace(row, value=row.value - 2) for row in known_rows() if row.measure != VALIDATION_LOSS]
    lost = [_row("random (Xavier)", -2.1, seed) for seed in range(3)]  # not trained
    after = "-1.390 ± 0.025 | -1.490 ± 0.025 | -1.140 ± 0.025 (default; apart) | 0 of 40"
    assert f"| net | 0.25 | 0.75 (default) | 3.0 | {after} |" in table.tables(below + lost)


def test_a_method_of_fewer_seeds_is_not_the_best() -> None:
    lucky = [_row("scored", 0.8), _row("scored", 0.9, 0, 40, "0.001")]
    found = table.tables(known_rows() + lucky)
    assert "| net | 0.25 | 0.75 (default) |" in found
    assert "(default; apart)" in found
    assert "| scored | 0.800 | 0.88 | 1 |" in found


def test_rates_of_least_loss() -> None:
    tried = {("a", "0.1"): 2.0, ("a", "0.01"): 1.0, ("b", "0.1"): 3.0, ("c", "0.1"): 0.5, ("d", "0.1"): math.inf}
    rows = [_row(method, loss, 100, 3, f"tuning {rate}", VALIDATION_LOSS) for (method, rate), loss in tried.items()]
    families = {"a": "", "b": "family", "c": "family", "d": "", "e": ""}
    assert best_rates(rows, families) == {"a": 0.01, "c": 0.1}  # d diverged, e was not tried


def test_the_page_holds_what_its_rows_make() -> None:
    text = f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter"
    made = readme.page(text, known_rows())
    assert made == f"before\n{readme.BEGIN}\n\n{table.tables(known_rows())}\n\n{readme.END}\nafter"
    with pytest.raises(ValueError, match="the page needs the lines"):
        readme.page("no marks", known_rows())


def test_the_committed_page_is_up_to_date() -> None:
    readme.main(["--check"])


def test_rows_are_read_as_written(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [replace(ROW, seed=seed) for seed in range(3)]
    append_rows(file, rows[:1])
    append_rows(file, rows[1:])
    assert read_rows([file]) == rows
    with pytest.raises(ValueError, match=r"rows\.jsonl:1: a second row of \('net', 'random', 0, '', 0, 'hits'\)"):
        read_rows([file, file])
    file.write_text(json.dumps({"network": "net"}) + "\n")
    with pytest.raises(ValueError, match=r"rows\.jsonl:1: not a row of results"):
        read_rows([file])


def test_rank_correlation_is_spearmans() -> None:
    torch.manual_seed(0)
    one, other = torch.randn(40), torch.randn(40)
    places = [sorted(range(40), key=lambda i: values[i].item()) for values in (one, other)]
    squares = sum((places[0].index(i) - places[1].index(i)) ** 2 for i in range(40))
    assert minilm.rank_correlation(one, other) == pytest.approx(1 - 6 * squares / (40 * (40**2 - 1)), abs=1e-12)


def test_files_are_dealt_by_share() -> None:
    uses = [sentences.use_of(f"package/module_{i}.py") for i in range(10_000)]
    for use, share in sentences.SHARES.items():
        assert uses.count(use) / len(uses) == pytest.approx(share / 10, abs=0.03)


def test_copies_of_a_text_serve_one_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paragraph = "Lists are joined end to end, and what is in them stays as it was before."
    texts = [f"Add two numbers or lists.\n\n{paragraph}", f"ADD two numbers, or lists!\n\nNot: {paragraph}"]
    files = [(f"{number}.py", tmp_path / f"{number}.py") for number in range(len(texts))]
    for (_, file), text in zip(files, texts, strict=True):
        file.write_text(repr(text))
    monkeypatch.setattr(sentences, "_files", lambda: iter(files))
    found = [passage for own in sentences.passages().values() for passage in own]
    assert [passage.summary for passage in found] == ["Add two numbers or lists."]


def test_every_rule_file_is_a_methods() -> None:
    source = Path(methods.__file__).read_text(encoding="utf-8")
    files = [file.name for file in methods.RULES.glob("*.yaml")]
    assert [name for name in files if f'"{name}"' not in source] == []


def test_excerpts_of_sounds() -> None:
    audio = torch.arange(2 * pitch.CLIP_SAMPLES).reshape(2, -1).double()
    clips = pitch.Clips(audio, torch.tensor([10.0, 20.0]), ("a", "b"))
    cut, cents = crepe.excerpts(clips, 3)
    assert cut.shape == (6, crepe.SAMPLES)
    assert cents.tolist() == [0.0] * 3 + [1200.0] * 3  # an octave above 10 Hz
    assert torch.allclose(cut.mean(-1), torch.zeros(6).double(), atol=1e-12)
    assert torch.allclose(cut.var(-1), torch.ones(6).double())


def test_a_single_loud_bin_is_its_pitch() -> None:
    logits = torch.full((2, pitch.BINS), -100.0)
    logits[0, 0], logits[1, 359] = 100.0, 100.0
    assert crepe.decode(logits).tolist() == pytest.approx([1997.3794, 1997.3794 + 359 * 20], abs=1e-2)


def test_names_of_the_checkpoint() -> None:
    names = ("conv1.weight", "conv6_BN.running_mean", "classifier.bias")
    ours = [crepe._our_name(name) for name in names]
    assert ours == ["layers.0.convolution.weight", "layers.5.norm.running_mean", "classifier.bias"]
    assert {crepe._our_name(f"conv{i}{part}") for i in range(1, 7) for part in (".bias", "_BN.weight")} < set(
        crepe.PitchNet((4,) * 6).state_dict()
    )


def test_streams_do_not_meet() -> None:
    first = {
        torch.rand((), generator=stream(seed, use)).item()
        for seed in range(50)
        for use in ("exam", "calibration", "training", "validation")
    }
    assert len(first) == 200


def test_features_count_as_much_as_the_own_loss_at_first() -> None:
    extra = iter([torch.tensor(8.0), torch.tensor(4.0)])
    loss = methods.balanced(lambda output, inputs: next(extra))
    assert loss(torch.tensor(2.0), torch.zeros(1), None) == 4.0  # 2 + 8 / 4
    assert loss(torch.tensor(2.0), torch.zeros(1), None) == 3.0  # the weight stays


def test_losses_of_the_library_pull_towards_the_teacher() -> None:
    network = Tiny()
    given = Given(network.teacher(), network.example_inputs, network.calibration(0), 0)
    inputs = torch.randn(2, 5, 3)
    student = network.student(0)

    def divergence(rows: Tensor) -> Tensor:
        ours, theirs = ((net(rows) / 2).log_softmax(1) for net in (student, given.teacher))  # at temperature 2
        found: Tensor = (theirs.exp() * (theirs - ours)).sum(1).mean()
        return found

    with torch.no_grad(), methods.logit_loss(student, given, None) as loss:
        first, second = (loss(torch.tensor(0.25), student(rows), rows) for rows in inputs)
        assert first.item() == pytest.approx(0.5, abs=1e-6)  # the own one twice
        wanted = 0.25 + 0.25 * divergence(inputs[1]) / divergence(inputs[0])
        assert second.item() == pytest.approx(wanted.item(), rel=1e-4)


def test_drawn_anew() -> None:
    student = nn.Sequential(nn.Embedding(5, 64), nn.Linear(64, 300), nn.LayerNorm(300), nn.Conv1d(300, 8, 3))
    before = {name: value.clone() for name, value in student.state_dict().items()}
    METHODS["random (Kaiming)"].start(student, Given(student, None, [], 3))
    after = student.state_dict()
    same = [name for name, value in after.items() if torch.equal(value, before[name])]
    assert same == ["0.weight", "2.weight", "2.bias"]
    assert after["1.weight"].std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.05)
    assert not after["1.bias"].any()
    METHODS["random (Xavier)"].start(student, Given(student, None, [], 3))
    assert student.get_parameter("1.weight").abs().max().item() == pytest.approx((6 / 364) ** 0.5, rel=0.01)


# --- a run on a network of two layers ---


class Tiny:
    """Eight hidden channels for a student of four; the exam counts, so that work done twice shows."""

    packages: tuple[str, ...] = ()
    training: Training | None = Training(rates=(1e-2, 1e-9), warm_up=2, stops=(1, 3), tried=2)
    example_inputs: Any = torch.zeros(2, 3)

    def __init__(self) -> None:
        self.exams = 0
        self.seen: list[Tensor] = []

    def teacher(self) -> nn.Module:
        torch.manual_seed(99)
        return _net(8)

    def student(self, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return _net(4)

    def calibration(self, seed: int) -> list[Any]:
        return [torch.randn(5, 3, generator=torch.Generator().manual_seed(seed)) for _ in range(2)]

    def exam(self, model: nn.Module) -> dict[str, float]:
        self.exams += 1
        return {"sum": model(torch.ones(1, 3)).sum().item()}

    def batches(self, seed: int) -> Iterator[Batch]:
        stream = torch.Generator().manual_seed(seed)
        while True:
            inputs = torch.randn(4, 3, generator=stream)
            self.seen.append(inputs)
            yield Batch(inputs, torch.ones(4, 2))

    def validation(self) -> list[Batch]:
        return [Batch(torch.ones(4, 3), torch.ones(4, 2))]

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        return functional.mse_loss(output, batch.target)


def _net(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 2))


CHOSEN = {name: METHODS[name] for name in (RANDOM, "default")}


def _run(file: Path, methods: dict[str, Method], seeds: tuple[int, ...] = (0,), training: bool = True) -> Tiny:
    network = Tiny()
    one = run.Run("tiny", network, file)
    if training:
        one.tune(methods)
    for seed in seeds:
        one.score(methods, seed, training=training)
    return network


def test_run_writes_every_number_once(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    for training in (False, True, True):  # the starts, then training, then nothing is left to do
        network = _run(file, CHOSEN, (0, 1), training)
    assert network.exams == 0
    rows = [row for row in read_rows([file]) if row.measure != VALIDATION_LOSS]
    assert {(row.training, row.step) for row in rows} == {("", 0), ("0.01", 1), ("0.01", 3)}
    assert len(rows) == 2 * 2 * 3  # methods, seeds, stops
    assert {row.versions["torch"] for row in rows} == {torch.__version__}
    assert all(0 <= row.seconds < 60 for row in rows)


def test_every_rate_is_tried_on_a_seed_of_its_own(tmp_path: Path) -> None:
    _run(tmp_path / "rows.jsonl", CHOSEN, seeds=())
    rows = read_rows([tmp_path / "rows.jsonl"])
    tried = {"tuning 0.01", "tuning 1e-09"}
    assert {(row.method, row.training) for row in rows} == {(name, rate) for name in CHOSEN for rate in tried}
    assert {(row.seed, row.step, row.measure) for row in rows} == {(run.TUNING_SEED, 2, VALIDATION_LOSS)}
    still = next(row.value for row in rows if (row.method, row.training) == (RANDOM, "tuning 1e-09"))
    student = Tiny().student(run.TUNING_SEED)
    assert still == pytest.approx(validation_loss(student, Tiny(), Tiny().validation()), abs=1e-6)


def test_an_interrupted_training_goes_on(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    chosen = {"default": METHODS["default"]}
    _run(whole, chosen)
    append_rows(cut, [row for row in read_rows([whole]) if row.step != 3])
    _run(cut, chosen)
    values = [{row.key: row.value for row in read_rows([file])} for file in (whole, cut)]
    assert values[0] == values[1]


def test_run_scores_what_the_method_made(tmp_path: Path) -> None:
    network = _run(tmp_path / "rows.jsonl", {"default": METHODS["default"]}, training=False)
    (row,) = read_rows([tmp_path / "rows.jsonl"])
    weights = [p.detach() for p in network.teacher().parameters()]
    hidden = (weights[0].sum(1) + weights[1]).clamp(min=0)[::2]  # evenly spaced: every second of eight
    assert row.value == pytest.approx((weights[2][:, ::2] @ hidden + weights[3]).sum().item(), abs=1e-6)


def test_all_methods_train_on_the_same_batches(tmp_path: Path) -> None:
    _run(tmp_path / "rows.jsonl", CHOSEN, seeds=())
    network = Tiny()
    run.Run("tiny", network, tmp_path / "rows.jsonl").score(CHOSEN, 3, training=True)
    assert len(network.seen) == 6  # two methods, three steps
    assert all(torch.equal(batch, network.seen[number % 3]) for number, batch in enumerate(network.seen))


def test_first_step_of_training_by_hand() -> None:
    """AdamW's first step moves every weight by the learning rate (here in warm-up: half of it), after its decay."""
    network = Tiny()
    student = network.student(0)
    before = [p.detach().clone() for p in student.parameters()]
    assert network.training is not None
    next(iter(train(student, network, network.training, 0.01, seed=0)))
    for was, now in zip(before, student.parameters(), strict=True):
        moved = (now.detach() - was * (1 - 0.005 * 0.01)).abs()
        gradient = now.grad
        assert gradient is not None
        expected = 0.005 * gradient.abs() / (gradient.abs() + 1e-8)
        assert torch.allclose(moved, expected, atol=1e-7)


def test_a_loss_of_its_own_is_trained_from_the_same_start_at_its_rate(tmp_path: Path) -> None:
    made: list[Any] = []

    def make_loss(student: nn.Module, given: Given, result: Any) -> Any:
        made.append(result)
        return nullcontext(lambda own, output, inputs: output.square().mean())

    shrunk = replace(METHODS["default"], base="default", make_loss=make_loss)
    _run(tmp_path / "rows.jsonl", {"default": METHODS["default"], "shrunk": shrunk})
    rows = [row for row in read_rows([tmp_path / "rows.jsonl"]) if row.measure != VALIDATION_LOSS]
    assert [(row.method, row.training, row.step) for row in rows] == [
        ("default", "", 0),
        ("default", "0.01", 1),
        ("default", "0.01", 3),
        ("shrunk", "0.01", 1),  # its start is another method's
        ("shrunk", "0.01", 3),
    ]
    start, own, other = (abs(rows[i].value) for i in (0, 2, 4))
    assert other < start < own  # towards zero, and towards the target of one
    assert made[0].coverage == 1.0


def test_a_refusal_is_told_and_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(*_: Any) -> None:
        raise PlanError("these two do not fit")

    _run(tmp_path / "rows.jsonl", {"stubborn": Method(refuse), RANDOM: METHODS[RANDOM]}, training=False)
    assert "stubborn: refused: these two do not fit" in capsys.readouterr().out
    assert [row.method for row in read_rows([tmp_path / "rows.jsonl"])] == [RANDOM]


def test_rows_of_other_versions_are_not_mixed(tmp_path: Path) -> None:
    append_rows(tmp_path / "rows.jsonl", [replace(ROW, network="tiny", versions={"torch": "0.1"})])
    with pytest.raises(ValueError, match=r"rows of other versions \(.*torch 0\.1 then, .*give another --output"):
        run.Run("tiny", Tiny(), tmp_path / "rows.jsonl")


def test_mimetic_attentions_of_a_bert() -> None:
    torchvision_stub.install()
    from transformers import BertConfig, BertModel

    config = BertConfig(hidden_size=64, num_attention_heads=4, num_hidden_layers=2, intermediate_size=64, vocab_size=9)
    model = BertModel(config)
    table = model.embeddings.word_embeddings.weight.clone()
    mimetic.initialise(model, seed=0)
    for layer in model.encoder.layer:
        attention, dense = layer.attention.self, layer.attention.output.dense
        together = attention.value.weight.T @ dense.weight.T
        assert together.diagonal().mean().item() == pytest.approx(-0.4, abs=0.1)
        for head in range(4):
            query, key = (part.weight[16 * head : 16 * head + 16] for part in (attention.query, attention.key))
            assert (query.T @ key).diagonal().mean() > 0.1
    assert torch.equal(model.embeddings.word_embeddings.weight, table)
    with pytest.raises(WselError, match="mimetic: Linear has no attention of the kind of BERT's"):
        mimetic.initialise(torch.nn.Linear(2, 2), seed=0)
