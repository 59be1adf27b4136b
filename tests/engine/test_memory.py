from __future__ import annotations

import subprocess
import sys

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
