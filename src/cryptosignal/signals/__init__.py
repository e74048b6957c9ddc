"""From factor rows to decisions: score, probability, EV, gates, tiers, plan, explanation."""
