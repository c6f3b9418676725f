"""Whole datasets: generated, reproduced, validated."""
