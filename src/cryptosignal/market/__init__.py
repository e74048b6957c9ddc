"""What is known of the market, in arrays of symbols: universe, klines, trades, books, marks."""
