"""Tasks out, labels in: the project, conversion of boxes, push, pull, agreement."""
