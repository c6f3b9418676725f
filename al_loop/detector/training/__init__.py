"""Training: settings, schedule, hooks, several GPUs."""
