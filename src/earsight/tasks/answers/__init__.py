"""The output of ``predict``: rows, events, and files that a stopped run can resume."""
