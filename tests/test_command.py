"""`collapse-study`: its commands, what it writes to start from, and what it finds broken."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from importlib import import_module
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from places import ROOT

from analysis.__main__ import main as report
from study.__main__ import main, modules, summaries
from study.completion import all_commands
from study.init import main as init
from study.init import templates
from study.launch import main as launch
from study.launching import machine
from study.reference.commands import page
from study.settings.arguments import Arguments
from study.tune import main as tune

HEAVY = {
    "numpy",
    "pandas",
    "polars",
    "pyarrow",
    "pydantic",
    "ray",
    "rich",
    "scipy",
    "torch",
    "yaml",
}


def console(folder: Path, *arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    """Run the console script, as pip writes it, in a folder; `code` comes before."""
    script = folder / "bin" / "collapse-study"
    script.parent.mkdir(exist_ok=True)
    script.write_text(f"import sys\n{code}\nfrom study.__main__ import main\nsys.exit(main())\n")
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_all_commands_are_listed_as_they_are_typed(tmp_path: Path) -> None:
    lines = console(tmp_path).stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [["collapse-study", name] for name in modules()]
    assert all(summary for summary in summaries(console=True).values())


@pytest.mark.parametrize("name", modules())
def test_help_imports_nothing_heavy(name: str) -> None:
    code = (
        "import sys; sys.argv[0] = 'bin/collapse-study'\n"
        "from study.__main__ import main\n"
        "try:\n    main([sys.argv[1], '--help'])\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        f"print('heavy:', sorted({HEAVY!r} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, name]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.startswith(f"usage: collapse-study {name} ")
    lines = done.stdout.splitlines()
    allowed = ["heavy: []", "heavy: ['pydantic']"] if name == "measure" else ["heavy: []"]
    assert lines[-1] in allowed


def test_commands_take_their_own_packages_where_others_have_their_names(tmp_path: Path) -> None:
    for name in ("study", "analysis"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the wrong package')\n")
    for arguments in (["report", "none.csv"], ["status", "runs/none"]):
        done = console(tmp_path, *arguments)
        assert done.returncode == 2, done.stderr
        assert "none" in done.stderr
        assert "wrong package" not in done.stderr


def test_modules_take_their_own_package_where_a_folder_has_its_name(tmp_path: Path) -> None:
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "__init__.py").write_text("raise RuntimeError('the wrong package')\n")
    done = subprocess.run(
        [sys.executable, "-m", "study", "report", "none.csv"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and "none.csv" in done.stderr, done.stderr


@pytest.mark.long
def test_workers_of_ray_take_the_package_where_a_folder_has_its_name(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "__init__.py").write_text("raise RuntimeError('the wrong package')\n")
    (tmp_path / "tiny.yaml").write_text(
        "{name: tiny, data: {kind: images, quota: 20}, model: {kind: mlp, width: 16, depth: 2}, "
        "train: {lr: 0.01, batch_size: 32}, grid: {epochs: [1], seed: [0]}}"
    )
    done = console(tmp_path, "launch", "tiny.yaml")
    assert done.returncode == 0, done.stdout[-2000:]
    assert "1 of 1 cells are in runs/tiny" in done.stdout


def test_texts_name_commands_as_an_installation_has_them() -> None:
    """`uv tool install` gives the script alone: no Python there finds `python -m study.NAME`.

    Beside the first lines of the doors, pages say it where they explain that both are the same.
    """
    modular = re.compile(r"python -m (?:\"\s+f?\")?(?:study\.(\w+)|analysis)\b(?!\.)")
    pages = [ROOT / "docs" / f"{name}.md" for name in ("architecture", "cli", "running")]
    pages += [ROOT / "study" / "reference" / "commands.py"]  # writes one of them
    for path in [*(ROOT / "docs").glob("*.md"), *ROOT.glob("study/**/*.py"),
                 *ROOT.glob("analysis/**/*.py")]:  # fmt: skip
        text = path.read_text(encoding="utf-8")
        if path in pages:
            continue
        if text.startswith('"""`python -m '):
            text = text.partition("\n")[2]
        names = [name for name in modular.findall(text) if not name or name in modules()]
        assert not names, f"{path}: name the command as `collapse-study` has it"


def test_an_unknown_command_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lanch"]) == 2
    assert capsys.readouterr().err.endswith("Did you mean `launch`?\n")


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    done = console(tmp_path, "--version")
    assert done.stdout.split()[0] == "collapse-study"
    assert done.stdout.split()[1][0].isdigit()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--permutatoins", "3", "x"], "Did you mean `--permutations`?"),
        (["--permutations", "many", "x"], "'many' is no whole number from 1 to 1000000"),
        (["--bootstrap", "0", "x"], "'0' is no whole number from 1 to"),
        (["--margin", "loss=a", "x"], "'loss=a' is no change of a column"),
        (["--decimal", ";", "x"], "invalid choice"),
    ],
)
def test_wrong_arguments_name_no_function_and_say_what_is_meant(
    capsys: pytest.CaptureFixture[str], arguments: list[str], text: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        report(arguments)
    assert ended.value.code == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert text in message
    assert "invalid draws" not in message and " _" not in message


@pytest.mark.parametrize("name", modules())
def test_no_argument_is_read_by_what_has_a_private_name(name: str) -> None:
    for action in import_module(modules()[name]).parser()._actions:
        kind = getattr(action.type, "__name__", "str")
        assert not kind.startswith("_"), action.dest


def test_the_page_of_commands_is_current_and_explains_every_argument() -> None:
    parsers = {name: import_module(module).parser() for name, module in modules().items()}
    for name, parser in parsers.items():
        assert [action.dest for action in parser._actions if not action.help] == [], name
    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == page(parsers), "run `python -m study --markdown > docs/cli.md`"


def test_a_choice_is_suggested_by_similarity(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Arguments(prog="x")
    parser.add_argument("--layers", choices=("last", "all"))
    with pytest.raises(SystemExit):
        parser.parse_args(["--layers", "lst"])
    assert capsys.readouterr().err.endswith("Did you mean `last`?\n")


@pytest.mark.parametrize("kind", ["quickstart", "text", "images"])
def test_a_study_to_start_from_can_be_launched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert init([kind]) == 0
    assert launch([f"{kind}.yaml", "--dry-run"]) == 0


def test_a_search_to_start_from_can_be_tuned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert init(["search", "own.yaml"]) == 0
    assert tune(["own.yaml", "--dry-run"]) == 0


def test_a_map_to_start_from_reports_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert init(["csv"]) == 0
    assert launch(["columns.yaml", "--dry-run"]) == 2
    assert "collapse-study report TABLE --columns" in capsys.readouterr().err
    lines = ["run,width,depth,lr,epoch,seed,val_loss,nc1,nc4_mismatch"]
    lines += [
        f"{width}-{depth}-{seed},{width},{depth},0.1,1,{seed},{1 / width + seed / 100},"
        f"{1 / (width + depth)},{(seed + depth) / 50}"
        for width in (8, 16, 32)
        for depth in (1, 2)
        for seed in (0, 1)
    ]
    Path("results.csv").write_text("\n".join(lines))
    few = ["--permutations", "20", "--bootstrap", "20", "--only", "association"]
    assert report(["results.csv", "--columns", "columns.yaml", *few]) == 0
    assert "report: " in capsys.readouterr().out


def test_what_is_there_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("mine")
    assert init(["text", str(file)]) == 2
    assert file.read_text() == "mine"
    assert "is there already: give another file" in capsys.readouterr().err
    assert init(["text", str(tmp_path / "none" / "x.yaml")]) == 2


def test_every_kind_to_start_from_has_a_test() -> None:
    assert set(templates()) == {"quickstart", "text", "images", "search", "csv"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert [name for name in modules() if name not in script] == []
    assert "retry-failed" in script
    assert "permutations" in script


def test_bash_takes_the_completion(tmp_path: Path) -> None:
    import shtab

    script = tmp_path / "completion.bash"
    script.write_text(shtab.complete(all_commands(), "bash"))
    check = (
        f"source {script}; COMP_WORDS=(collapse-study launch --dr); COMP_CWORD=2; "
        "_shtab_collapse_study; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(["bash", "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["--dry-run"]


TRAIN = ['ray; extra == "train"', 'optuna>=5; extra == "train"']


def findings(runs: Path, **more: str) -> dict[str, machine.Finding]:
    return {finding.name: finding for finding in machine.examine(runs, **more)}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at no library, which takes seconds each."""
    monkeypatch.setattr(machine, "_imports", lambda: iter(()))
    monkeypatch.setattr(machine, "_devices", lambda: iter(()))


@pytest.mark.usefixtures("quick")
def test_a_sound_folder_is_left_as_it_was(tmp_path: Path) -> None:
    finding = findings(tmp_path / "new" / "runs")["runs"]
    assert finding.state == "ok"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_a_folder_that_takes_no_files_is_broken(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    finding = findings(tmp_path / "file" / "runs")["runs"]
    assert finding.state == "broken"
    assert "--runs" in finding.fix


@pytest.mark.usefixtures("quick")
def test_a_dead_cluster_is_broken_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = machine.Finding("[train]", "ok", "")
    monkeypatch.setattr(machine, "_packages", lambda: iter([found]))
    arguments = ["doctor", "--runs", str(tmp_path), "--address", "127.0.0.1:9"]
    assert main(arguments) == 1
    out = capsys.readouterr().out
    assert "broken  cluster       nobody answers at 127.0.0.1:9" in out
    assert out.endswith("1 broken\n")


@pytest.mark.usefixtures("quick")
def test_training_is_absent_where_another_extra_brings_a_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(name: str) -> str:
        if name == "optuna":
            return "5.0.0"
        raise PackageNotFoundError(name)

    monkeypatch.setattr(machine, "requires", lambda _: ['torch; extra == "train"', *TRAIN])
    monkeypatch.setattr(machine, "version", version)
    found = findings(tmp_path)
    assert (found["[train]"].state, found["packages"].state) == ("absent", "ok")
    assert "'collapse-study[train]'" in found["[train]"].text
    monkeypatch.setattr(machine, "requires", lambda _: TRAIN)
    assert findings(tmp_path)["[train]"].text == "missing: ray"


def test_a_library_that_cannot_be_imported_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "IMPORTED", ("nosuchlibrary", "json"))
    lost, sound = machine._imports()
    assert (lost.state, sound.state) == ("broken", "ok")
    assert "No module named 'nosuchlibrary'" in lost.text


def test_a_library_whose_import_hangs_is_broken_and_one_that_ends_just_then_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hanging.py").write_text("import time\ntime.sleep(600)\n")
    (tmp_path / "sound.py").write_text("__version__ = '1.2'\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(machine, "IMPORT_SECONDS", -1)  # over before it is asked
    monkeypatch.setattr(machine, "IMPORTED", ("hanging",))
    (lost,) = machine._imports()
    assert (lost.state, lost.text) == ("broken", "its import fails: no answer within -1 s")
    started = machine._python

    def ended(code: str) -> subprocess.Popen[str]:
        process = started(code)
        process.wait()
        return process

    monkeypatch.setattr(machine, "IMPORTED", ("sound",))
    monkeypatch.setattr(machine, "_python", ended)
    (sound,) = machine._imports()
    assert (sound.state, sound.text) == ("ok", "1.2")


def test_a_process_whose_output_a_child_holds_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its kill does not end the output; a process that a driver holds answers no sooner."""
    child = tmp_path / "child"
    start = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
    note = f"pathlib.Path({str(child)!r}).write_text(str({start}.pid))"
    (tmp_path / "holding.py").write_text(
        f"import pathlib, subprocess, sys, time\n{note}\ntime.sleep(600)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(machine, "IMPORT_SECONDS", 0.2)
    monkeypatch.setattr(machine, "KILLED_SECONDS", 0.2)
    process = machine._python("import holding")
    while not (child.exists() and child.read_text()):
        time.sleep(0.02)
    began = time.monotonic()
    try:
        assert machine._output(process) == (False, ["no answer within 0.2 s"])
        assert time.monotonic() - began < 60
    finally:
        os.kill(int(child.read_text()), signal.SIGKILL)
        process.communicate()


def test_training_without_its_libraries_says_what_to_install(tmp_path: Path) -> None:
    block = (
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'ray', 'optuna', 'transformers'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
    )
    console(tmp_path, "init", "quickstart")
    done = console(tmp_path, "launch", "quickstart.yaml", "--serial", code=block)
    assert done.returncode == 2
    assert "is not installed. Run pip install 'collapse-study[train]'" in done.stderr
