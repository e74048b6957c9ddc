"""The venue's dialect, pure: routes, limits, wire structs, decoding, encoding, signing, filters, error codes."""
