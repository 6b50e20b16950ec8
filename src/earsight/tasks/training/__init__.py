"""The parts of a training in the order of the data (plan, decoded, loop, finish), and their helpers."""
