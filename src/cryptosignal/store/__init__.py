"""Bytes that survive: journal, decision blocks, tape, candles, outcome rows, projections, and their disks."""
