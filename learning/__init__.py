"""One step of learning: optimizers and their schedules, the average, the loss guard, and the gradient of self-play."""
