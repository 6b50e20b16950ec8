"""Waveforms → images, batched, on the network's own device."""
