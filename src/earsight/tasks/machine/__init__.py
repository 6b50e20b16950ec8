"""The machine that a task runs on: cores, devices, memory, signals."""
