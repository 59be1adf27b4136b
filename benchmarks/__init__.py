"""Measure the engine against the plain loop of examples/plain.py and a feed-forward package: `python -m benchmarks`."""

import os

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # every figure is for the CPU
