"""Rows to decisions: score, probability, EV, gates, tiers, plan, explanation. Pure."""
