"""HTTP client of a Label Studio server: requests, checked responses, failures, image addresses."""
