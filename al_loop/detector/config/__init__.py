"""Model configs: shipped, of users, and as they are stored beside a model."""
