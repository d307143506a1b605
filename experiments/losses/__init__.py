"""Final loss from the schedule: fitting the laws of `theory.loss_laws` to data."""
