"""Backbones that MMDetection does not have, and their pretrained weights."""
