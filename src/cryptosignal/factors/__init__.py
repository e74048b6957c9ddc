"""Market views to factor rows: raw values, standardised scores, modulators, context. Pure."""
