"""Example pictures, and the plain loop, which the benchmark imports from here."""
