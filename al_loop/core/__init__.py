"""Settings, errors, console output and files: what every other package uses."""
