"""Tasks and labels: the project, conversion of boxes, push, pull, agreement."""
