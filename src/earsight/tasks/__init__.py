"""One public function each: train, evaluate, predict, demo."""
