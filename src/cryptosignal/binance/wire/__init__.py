"""The venue's own words, typed: one struct a message, its letters kept. They never leave `binance/`
upwards except for market frames, which the caches above read straight into arrays.

Fields that we do not name are ignored: the venue adds some every month (BINANCE §1).
"""
