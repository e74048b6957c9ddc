"""Factors as rows of one table, functions over read-only views, vectorised across symbols."""
