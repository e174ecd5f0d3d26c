"""What lies in examples/ runs as it stands, and says what it should."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import nbformat
import pytest
from places import ROOT

EXAMPLES = ROOT / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def nc1(printed: str, pattern: str) -> list[float]:
    return [float(value) for value in re.findall(pattern, printed)]


@pytest.mark.parametrize(
    ("name", "pattern", "count"),
    [
        ("own_loop", r"(?m)^ +\d+ +([\d.]+)", 5),
        ("torchmetrics_digits", r"nc1_ratio ([\d.]+)", 11),
        ("lightning_digits", r"NC1 ([\d.]+)", 5),
        pytest.param("trainer_gpt2", r"NC1 ([\d.]+)", 4, marks=pytest.mark.long),
    ],
)
def test_a_script_shows_collapse(
    name: str,
    pattern: str,
    count: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    ratios = nc1(capsys.readouterr().out, pattern)
    assert len(ratios) == count
    assert ratios[-1] < ratios[0]


def test_every_script_is_short_and_run() -> None:
    assert [path.stem for path in SCRIPTS] == [
        "lightning_digits",
        "own_loop",
        "torchmetrics_digits",
        "trainer_gpt2",
    ]
    assert all(len(path.read_text(encoding="utf-8").splitlines()) < 80 for path in SCRIPTS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "texts", "figures"),
    [
        ("own_loop", ["nc1_ratio: more collapse is lower"], 1),
        ("read_a_store", ["(2040, ", "not found"], 2),
        ("csv_to_report", ["not found", "report.html"], 1),
    ],
)
def test_a_notebook_runs(name: str, texts: list[str], figures: int) -> None:
    from nbclient import NotebookClient

    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": EXAMPLES}}).execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    shown = "".join(out.get("text", "") + str(out.get("data", "")) for out in outputs)
    assert [text for text in texts if text not in shown] == []
    assert sum("image/png" in out.get("data", {}) for out in outputs) == figures


def test_every_notebook_is_known() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["csv_to_report", "own_loop", "read_a_store"]
