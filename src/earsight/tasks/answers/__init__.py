"""What becomes of the answers of ``predict``: events, and files that a stopped run goes on with."""
