"""logits → numbers and pictures. numpy only, never torch."""
