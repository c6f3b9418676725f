"""Learn from unlabelled images: a teacher labels them for the model that is trained."""
