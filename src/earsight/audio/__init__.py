"""A file, bytes or file object → samples. numpy only, never torch."""
