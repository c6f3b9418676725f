"""The embedded server: its environment, process, users and backups."""
