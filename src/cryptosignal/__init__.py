"""CryptoSignal: the whole Binance USDⓈ-M market watched from memory, scored, explained, traded safely."""

__version__ = "0.1.0"
