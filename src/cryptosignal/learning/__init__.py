"""Signals followed to their outcomes, calibration, promotion rules."""
