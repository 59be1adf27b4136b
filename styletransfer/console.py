"""Printing where it can go wrong: encodings that lack a character, and a terminal that has gone."""

from __future__ import annotations

import io
import os
import sys
from functools import partial

from tqdm import tqdm


def escape_unprintable() -> None:
    """Let stdout and stderr print a character that their encoding lacks as an escape, as in \\u03b2, from now on.

    Otherwise a Greek letter ends a program whose output is redirected, on Windows or with PYTHONIOENCODING=ascii.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not what a test or a notebook has put in its place
            stream.reconfigure(errors="backslashreplace")


class Stderr(io.TextIOBase):
    """stderr, but silent from the moment at which nobody reads it any more, as after `2>&1 | head -1`.

    Print to it what is no reason to end a run.
    """

    def write(self, text: str) -> int:
        """Write the text, or nothing."""
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except OSError:
            # What is buffered must go somewhere, or Python would fail to write it when the process ends.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stderr.fileno())
            os.close(nowhere)
        return len(text)

    def fileno(self) -> int:
        """Return the number of the file, by which a bar finds the width of the terminal."""
        return sys.stderr.fileno()

    def isatty(self) -> bool:
        """Return whether stderr is a terminal."""
        return sys.stderr.isatty()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding, by which a bar chooses its characters."""
        return sys.stderr.encoding


make_bar = partial(tqdm, delay=0.001, dynamic_ncols=True, file=Stderr())
"""Make a progress bar. The delay keeps it away until the first step, so that a run that cannot begin prints one line
only."""


def print_line(message: object) -> None:
    """Print one line to stderr, with odd characters of file names replaced."""
    line = "".join(c if c.isprintable() else "?" for c in str(message))
    Stderr().write(f"styletransfer: {line}\n")
