"""Weights and thresholds as data (D4): versioned, journaled, changed by learning, never by code."""
