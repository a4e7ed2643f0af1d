"""Tables of known rows: the paper's numbers stand beside ours, and nothing that was not run is shown as ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from examples.paper import small, table
from examples.paper.experiment import HERE, catalogue
from examples.paper.results import Row, append_rows, read_rows

ROW = Row("cifar100/vit_t-default", 0, "run", 2e-3, 100, "accuracy", 0.7, 9.0, "one card", {"torch": "2"}, "2026-01-02")


def grid(text: str) -> dict[str, list[str]]:
    """Lines of Markdown tables, by their first cell."""
    published = text.partition("The same question")[0]
    lines = [[cell.strip() for cell in line[1:-1].split("|")] for line in published.splitlines() if line[:1] == "|"]
    return {line[0]: line[1:] for line in lines}


def test_without_rows_everything_is_not_run() -> None:
    for number in table.titles():
        text = table.table(number, [])
        published = text.partition("The same question")[0]
        lines = [line for line in published.splitlines() if line.startswith("| ")][2:]
        cells = [cell.strip() for line in lines for cell in line.strip("|").split("|")[1:]]
        assert cells[1::2] == ["not run"] * (len(cells) // 2)
        assert "None of ours was run." in published


def test_numbers_of_the_paper_by_hand() -> None:
    """A few, typed anew from the paper."""
    found = grid(table.table("2", []))
    assert [found[name][::2] for name in ("Pets", "ImageNet-1K", "DTD")] == [
        ["25.0", "68.6", "72.9", "87.3"],
        ["73.9", "75.6", "76.1", "76.4"],
        ["49.4", "62.5", "63.7", "68.8"],
    ]
    assert grid(table.table("10", []))["without MLP"][::2] == ["95.6", "78.8", "74.2"]
    assert grid(table.table("17", []))["uniform"][0] == "77.5"
    count = sum(len(cells) for content in catalogue("numbers.yaml").values() for cells in content["rows"].values())
    assert count == 40 + 14 + 8 + 12 + 6 + 8 + 3 + 4 + 21 + 8 + 9 + 4 + 4 + 6 + 8


def test_ours_is_the_last_step_of_every_seed() -> None:
    rows = [replace(ROW, seed=seed, value=value) for seed, value in enumerate([0.70, 0.72, 0.74])]
    rows += [replace(row, step=50, value=0.9) for row in rows]  # on the way
    rows += [replace(ROW, measure="loss", value=3.0), replace(ROW, phase="tune", seed=1000, value=1.0)]
    found = grid(table.table("3", rows))
    # 4.302653 * sqrt(0.0004 / 3) = 0.0497
    assert found["library default"] == ["72.3", "72.0 ± 5.0", "81.4", "not run"]
    text = table.table("3", rows)
    assert "Ours: 1 experiments, 3 seeds, on one card, 2026-01-02, torch 2." in text


def test_several_draws_are_a_median_when_all_were_run() -> None:
    names = [f"cifar100/vit_t-random{draw}" for draw in ("", "-1", "-2")]
    rows = [replace(ROW, experiment=name, value=value) for name, value in zip(names, (0.5, 0.9, 0.6), strict=True)]
    assert grid(table.table("3", rows))["random, consistent"][:2] == ["81.7", "60.0"]
    assert grid(table.table("3", rows[:2]))["random, consistent"][:2] == ["81.7", "not run"]


def test_the_small_setting() -> None:
    rows = []
    ends = {"default": 0.5, "kaiming": 0.6, "paper": 0.8, "paper-distilled": 0.9, "random-inconsistent": 0.7}
    for name, end in ends.items():
        for step, value in ((10, end - 0.2), (20, end)):
            rows += [replace(ROW, experiment=f"small/vit/{name}", step=step, value=value, lr=1e-3)]
    rows.append(replace(ROW, experiment="small/vit/paper", phase="untrained", step=0, value=0.31))
    rows.append(replace(ROW, experiment="small/vit/paper-probe", value=0.55))
    found = grid(small.starts(rows, "vit"))
    assert found["random: library default"] == ["0.001", "50.0", "not run", "over 20", "not run"]
    assert found["random: Kaiming"] == ["0.001", "60.0", "not run", "20 of 20", "not run"]
    selected = found["the paper's selection (uniform, flat)"]
    assert selected == ["0.001", "80.0", "90.0", "10 of 20", "10 of 20"]
    found = grid(small.untrained(rows, "vit"))
    assert found["random: Kaiming"] == ["", "", "not run"]
    assert found["the paper's selection (uniform, flat)"] == ["31.0", "", "55.0"]
    found = grid(small.ablations(rows, "vit"))
    assert found == {
        "changed": ["trained"],
        "---": ["--:"],
        "the paper's selection": ["80.0"],
        "random-inconsistent": ["70.0"],
    }


def test_the_committed_rows_are_read_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["all"], ["small"], ["3"]):
        table.main(arguments)
    printed = capsys.readouterr().out
    assert printed.count("### Table 3") == 2


def test_the_readme_shows_what_the_command_prints() -> None:
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    rows = read_rows(sorted(table.ROWS.glob("*.jsonl")))
    assert small.tables(rows) in readme


def test_the_readme_is_written_between_its_marks(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    for _ in range(2):
        table.write_readme([replace(ROW, experiment="small/vit/default")], file)
    text = file.read_text()
    assert (text.count("before"), text.count("random: library default"), text.count("after")) == (1, 2, 1)
    assert "old" not in text


def test_rows_are_read_as_written(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [replace(ROW, seed=seed) for seed in range(3)]
    append_rows(file, rows[:1])
    append_rows(file, rows[1:])
    assert read_rows([file]) == rows
    append_rows(file, rows[:1])
    with pytest.raises(ValueError, match=r"rows\.jsonl:4: a second row of .*; remove one of the two"):
        read_rows([file])
    file.write_text("{}\n")
    with pytest.raises(ValueError, match=r"rows\.jsonl:1: not a row of results"):
        read_rows([file])
