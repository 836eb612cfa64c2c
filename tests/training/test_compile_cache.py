"""The cache of compiled programs: only the user's own, whole entries, bounded, and never the reason that a run stops."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from transfer.training import compile_cache
from transfer.training.compile_cache import Entries, distrusted

PROGRAM = """
from transfer.training.compile_cache import use_compile_cache
import jax, jax.numpy as jnp, warnings
warnings.simplefilter("error")
use_compile_cache()
print(jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((3, 3)))[0, 0])
"""


def run(home: Path) -> subprocess.CompletedProcess[str]:
    words = {**os.environ, "XDG_CACHE_HOME": str(home)}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=False, env=words
    )


def test_a_damaged_entry_is_made_again_once_and_nobody_warns(tmp_path: Path) -> None:
    first = run(tmp_path)
    assert first.returncode == 0, first.stderr
    folder = tmp_path / "transfer" / "xla"
    assert folder.stat().st_mode & 0o777 == 0o700
    good = {path: path.read_bytes() for path in folder.glob("*.xla")}
    assert good
    for path, content in good.items():
        path.write_bytes(content[: len(content) // 2])
    again = run(tmp_path)
    assert (again.returncode, again.stdout, again.stderr) == (0, first.stdout, "")
    mended = {path: path.read_bytes() for path in folder.glob("*.xla")}
    assert mended.keys() == good.keys()
    entries = Entries(folder)
    assert all(entries.get(path.stem) is not None for path in mended), "all of them are whole again"
    times = {path: path.stat().st_ino for path in mended}
    assert run(tmp_path).stdout == first.stdout
    assert times == {path: path.stat().st_ino for path in folder.glob("*.xla")}, "and are not written a third time"


def test_a_flipped_byte_is_a_missing_entry(tmp_path: Path) -> None:
    entries = Entries(tmp_path)
    entries.put("a", b"program")
    assert entries.get("a") == b"program"
    (path,) = tmp_path.glob("*.xla")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    assert entries.get("a") is None
    entries.put("a", b"program")
    assert entries.get("a") == b"program"
    assert entries.get("b") is None


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    entries = Entries(tmp_path, largest=1000)
    for number in range(20):
        entries.put(str(number), bytes(200))
        os.utime(tmp_path / f"{number}.xla", (number, number))
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1000 + 232
    entries.get("16")  # used now
    Entries(tmp_path, largest=500)
    assert {path.stem for path in tmp_path.iterdir()} == {"16", "19"}


def test_a_folder_of_others_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own"
    own.mkdir(mode=0o700)
    assert distrusted(own) is None
    (tmp_path / "link").symlink_to(own)
    assert "link" in str(distrusted(tmp_path / "link"))
    own.chmod(0o770)
    assert "others can write" in str(distrusted(own))
    own.chmod(0o700)
    monkeypatch.setattr(compile_cache.os, "geteuid", lambda: 12345)
    assert "another user" in str(distrusted(own))


@pytest.mark.parametrize("fault", ["link", "file", "unwritable"])
def test_a_cache_that_cannot_be_used_slows_down_and_stops_nothing(tmp_path: Path, fault: str) -> None:
    (tmp_path / "transfer").mkdir()
    if fault == "link":
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "transfer" / "xla").symlink_to(tmp_path / "elsewhere")
    elif fault == "file":
        (tmp_path / "transfer" / "xla").write_text("")
    else:
        os.rmdir(tmp_path / "transfer")
        (tmp_path / "transfer").write_text("")
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert "compiled programs are not kept" in done.stderr.replace("\n", " ")
    if fault == "link":
        assert not list((tmp_path / "elsewhere").iterdir())


def test_a_full_disk_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compile_cache, "write", full)
    entries = Entries(tmp_path)
    for key in "ab":
        entries.put(key, b"program")
    assert capsys.readouterr().err.count("No space left") == 1
