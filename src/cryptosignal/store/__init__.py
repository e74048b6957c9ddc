"""Bytes that survive: money journal, decision blocks, tape, candles, archive, projections."""
