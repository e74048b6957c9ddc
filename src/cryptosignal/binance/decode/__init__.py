"""From the venue's bytes to our words: market frames, account events, REST answers.

Everything raises `Garbled` for bytes that are not what the documents promise, and nothing else.
"""
