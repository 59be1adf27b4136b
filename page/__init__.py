"""The page. Begin with layout.py (what is on it), then handlers.py (what each button does) and worker.py (a run)."""
