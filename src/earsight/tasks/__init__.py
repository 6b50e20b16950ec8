"""One public function each: train, evaluate, crossval, predict, export and the others that have a command."""
