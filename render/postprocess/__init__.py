"""After rendering: background and sensor."""
