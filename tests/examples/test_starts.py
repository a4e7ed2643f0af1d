"""The harness that compares starts: its arithmetic against known numbers, its runs on a network of two layers."""

from __future__ import annotations

import doctest
import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.starts import crepe, interval, methods, minilm, run, sentences, table
from examples.starts.interval import mean_interval, t_quantile
from examples.starts.methods import METHODS, Method, by_rules
from examples.starts.network import Batch, Schedule, stream
from examples.starts.rows import Row, append_rows, read_rows
from examples.starts.training import train
from wsel_graph.demo import pitch
from wsel_graph.errors import PlanError

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


def test_table_of_known_numbers() -> None:
    rows = [replace(ROW, method="teacher", value=0.9)]
    rows += [replace(ROW, seed=seed, value=value) for seed, value in enumerate([0.1, 0.3, 0.5])]
    rows += [replace(ROW, method="default", value=0.75, seconds=2.0, versions={"torch": "3"})]
    rows += [replace(ROW, seed=9, training="1e-3", step=step, value=step / 100, seconds=step) for step in (40, 10)]
    # 4.302653 * sqrt(0.04 / 3) = 0.4968
    assert table.tables(rows) == "\n\n".join(
        [
            "### net",
            "**No training**",
            "| method | hits | seeds | seconds |\n| --- | --: | --: | --: |\n| teacher | 0.900 | - | - |\n"
            "| random | 0.300 ± 0.497 | 3 | 1.0 |\n| default | 0.750 | 1 | 2.0 |",
            "**After training, learning rate 1e-3**",
            "| method | hits, 10 steps | hits, 40 steps | seeds | seconds |\n| --- | --: | --: | --: | --: |\n"
            "| random | 0.100 | 0.400 | 1 | 40.0 |",
            "Mean ± half the 95 % interval over seeds; the choice of the exam's questions is not in it. "
            "Made with torch 2 (2026-01-02); and with torch 3 (2026-01-02).",
        ]
    )


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
        for use in ("exam", "calibration", "training")
    }
    assert len(first) == 150


def test_features_count_as_much_as_the_own_loss_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a stand-in for the library's loss: what is added, and that it is closed."""
    features, closed = iter([torch.tensor(8.0), torch.tensor(4.0)]), []

    class Distillation:
        def __init__(self, student: nn.Module, teacher: nn.Module, pairs: list[Any]) -> None:
            assert [pair.problem for pair in pairs] == [""]

        def __enter__(self) -> Any:
            return lambda: next(features)

        def __exit__(self, *_: object) -> None:
            closed.append(True)

    pairs = [SimpleNamespace(problem=""), SimpleNamespace(problem="no such channels")]
    library = SimpleNamespace(FeatureDistillation=Distillation, feature_pairs=lambda plan: pairs)
    monkeypatch.setattr(methods, "_ws", library)
    make_loss = methods.distilled(METHODS["default"]).make_loss
    assert make_loss is not None
    with make_loss(_net(4), _net(8), SimpleNamespace(plan=None)) as loss:
        assert loss(torch.tensor(2.0), torch.zeros(1), torch.zeros(1, 3)) == 4.0  # 2 + 8 / 4
        assert loss(torch.tensor(2.0), torch.zeros(1), torch.zeros(1, 3)) == 3.0  # the weight stays
    assert closed == [True]


# --- a run on a network of two layers ---


class Tiny:
    """Eight hidden channels for a student of four; the exam counts, so that work done twice shows."""

    packages: tuple[str, ...] = ()
    schedules: Mapping[str, Schedule] = {name: Schedule(1e-2, warm_up=2, stops=(1, 3)) for name in ("one", "same")}
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

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        return functional.mse_loss(output, batch.target)


def _net(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 2))


def _run(network: Tiny, file: Path, training: bool = True) -> run.Run:
    return run.Run("tiny", network, file, network.schedules if training else {})


def test_run_writes_every_number_once(tmp_path: Path) -> None:
    file, chosen = tmp_path / "rows.jsonl", {name: METHODS[name] for name in ("random", "default")}
    for training in (False, True, True):  # the starts, then training, then nothing is left to do
        network = Tiny()
        one = _run(network, file, training)
        one.score_teacher()
        for seed in (0, 1):
            one.score(chosen, seed)
    assert network.exams == 0
    rows = read_rows([file])
    stops = {("", 0), ("one", 1), ("one", 3), ("same", 1), ("same", 3)}
    assert {(row.training, row.step) for row in rows} == stops
    assert len(rows) == 1 + 2 * 2 * len(stops)  # the teacher; methods, seeds, stops
    assert {row.versions["torch"] for row in rows} == {torch.__version__}
    assert all(0 <= row.seconds < 60 for row in rows)


def test_an_interrupted_training_goes_on(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    _run(Tiny(), whole).score({"default": METHODS["default"]}, 0)
    append_rows(cut, [row for row in read_rows([whole]) if (row.training, row.step) != ("same", 3)])
    _run(Tiny(), cut).score({"default": METHODS["default"]}, 0)
    values = [{row.key: row.value for row in read_rows([file])} for file in (whole, cut)]
    assert values[0] == values[1]


def test_run_scores_what_the_method_made(tmp_path: Path) -> None:
    network = Tiny()
    _run(network, tmp_path / "rows.jsonl", training=False).score({"default": METHODS["default"]}, 0)
    (row,) = read_rows([tmp_path / "rows.jsonl"])
    weights = [p.detach() for p in network.teacher().parameters()]
    hidden = (weights[0].sum(1) + weights[1]).clamp(min=0)[::2]  # evenly spaced: every second of eight
    assert row.value == pytest.approx((weights[2][:, ::2] @ hidden + weights[3]).sum().item(), abs=1e-6)


def test_all_methods_train_on_the_same_batches(tmp_path: Path) -> None:
    network = Tiny()
    _run(network, tmp_path / "rows.jsonl").score({name: METHODS[name] for name in ("random", "default")}, 3)
    assert len(network.seen) == 12  # two methods, two schedules, three steps
    assert all(torch.equal(batch, network.seen[number % 3]) for number, batch in enumerate(network.seen))


def test_every_schedule_begins_at_the_start(tmp_path: Path) -> None:
    _run(Tiny(), tmp_path / "rows.jsonl").score({"default": METHODS["default"]}, 0)
    values = {(row.training, row.step): row.value for row in read_rows([tmp_path / "rows.jsonl"])}
    assert values["one", 3] == values["same", 3] != values["one", 1] == values["same", 1]


def test_first_step_of_training_by_hand() -> None:
    """AdamW's first step moves every weight by the learning rate (here in warm-up: half of it), after its decay."""
    network = Tiny()
    student = network.student(0)
    before = [p.detach().clone() for p in student.parameters()]
    next(iter(train(student, network, network.schedules["one"], seed=0)))
    for was, now in zip(before, student.parameters(), strict=True):
        moved = (now.detach() - was * (1 - 0.005 * 0.01)).abs()
        gradient = now.grad
        assert gradient is not None
        expected = 0.005 * gradient.abs() / (gradient.abs() + 1e-8)
        assert torch.allclose(moved, expected, atol=1e-7)


def test_a_loss_of_its_own_is_trained_from_the_same_start(tmp_path: Path) -> None:
    given: list[Any] = []

    def make_loss(student: nn.Module, teacher: nn.Module, result: Any) -> Any:
        given.append(result)
        return nullcontext(lambda own, output, inputs: output.square().mean())

    method = replace(METHODS["default"], make_loss=make_loss)
    network = Tiny()
    _run(network, tmp_path / "rows.jsonl").score({"shrunk": method, "default": METHODS["default"]}, 0)
    rows = [row for row in read_rows([tmp_path / "rows.jsonl"]) if row.training != "same"]
    assert [(row.method, row.step) for row in rows] == [
        ("shrunk", 1),
        ("shrunk", 3),  # its start is another method's
        ("default", 0),
        ("default", 1),
        ("default", 3),
    ]
    start, shrunk, own = (abs(rows[i].value) for i in (2, 1, 4))
    assert shrunk < start < own  # towards zero, and towards the target of one
    assert given[0].coverage == 1.0


def test_a_refusal_is_told_and_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(*_: Any) -> None:
        raise PlanError("these two do not fit")

    chosen = {"stubborn": Method(refuse), "random": METHODS["random"]}
    _run(Tiny(), tmp_path / "rows.jsonl", training=False).score(chosen, 0)
    assert "stubborn: refused: these two do not fit" in capsys.readouterr().out
    assert [row.method for row in read_rows([tmp_path / "rows.jsonl"])] == ["random"]


def test_rows_of_other_versions_are_not_mixed(tmp_path: Path) -> None:
    append_rows(tmp_path / "rows.jsonl", [replace(ROW, network="tiny", versions={"torch": "0.1"})])
    with pytest.raises(ValueError, match=r"rows of other versions \(.*torch 0\.1 then, .*give another --output"):
        _run(Tiny(), tmp_path / "rows.jsonl")


def test_schedules_are_chosen_by_rate() -> None:
    known = {"low": Schedule(1e-4, 60, (1,)), "high": Schedule(3e-4, 0, (1,))}
    assert list(run.chosen_schedules(known, None)) == ["low", "high"]
    assert list(run.chosen_schedules(known, [3e-4])) == ["high"]
    with pytest.raises(ValueError, match=r"--rates 0\.001: this network is trained at \[0\.0001, 0\.0003\]"):
        run.chosen_schedules(known, [1e-4, 1e-3])


def test_missing_methods_say_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run.available({"known": METHODS["default"], "none": by_rules("no-such-rules")})
    assert list(found) == ["known"]
    assert "none: left out: no rule file named 'no-such-rules'" in capsys.readouterr().out


def test_the_first_methods_are_there() -> None:
    names = ("random", "paper", "default", "rescaled", "scored (weights)")
    assert [METHODS[name].missing() for name in names] == [None] * len(names)
    assert tuple(itertools.islice(METHODS, len(names))) == names
