"""How far each symbol's data can be trusted (DataQual), and reconciliation verdicts."""
