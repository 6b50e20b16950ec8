"""Publishing a model: its card, and its files without the user's folders."""
