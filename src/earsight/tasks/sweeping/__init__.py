"""The parts of a sweep: the space of recipes, its trials, its page."""
