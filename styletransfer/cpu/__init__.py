"""Speed and memory on a processor. Nothing here belongs to the method: a reader of it can skip this folder."""
