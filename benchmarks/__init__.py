"""What the engine reaches, measured against the plain loop and a feed-forward package: `python -m benchmarks`."""

import os

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # every figure is of the processor
