from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from styletransfer.cpu import memory

GIVES_BACK = """
import torch
from styletransfer.cpu import memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20

memory.tune_allocator()
before = resident()
tensors = [torch.ones(2**22) for _ in range(16)]
del tensors
kept = resident() - before
memory.trim_heap()
print(kept, resident() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(memory._glibc is None, reason="another C library")
def test_freed_memory_is_kept_during_a_run_and_given_back_after_it() -> None:
    done = subprocess.run([sys.executable, "-c", GIVES_BACK], stdout=subprocess.PIPE, text=True, check=True)
    kept, after = map(float, done.stdout.split())
    assert kept > 200
    assert after < 50


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_glibc", None)
    memory.tune_allocator()
    memory.trim_heap()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of Linux")
def test_the_limit_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1e6 < memory.available_bytes() < 1e14
    for name, text in (("max", "1000000"), ("current", "900000"), ("stat", "anon 5\ninactive_file 50000\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert memory.available_bytes() == 150000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_bytes() > 150000
