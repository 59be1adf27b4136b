"""The parts of the page, in the order in which a visitor meets them: choose, turn, watch, keep."""
