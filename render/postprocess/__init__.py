"""Processing after rendering: background and sensor."""
