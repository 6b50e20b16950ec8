"""Recordings and labels → batches of waveforms. numpy only; torch comes in with the mel front end."""
