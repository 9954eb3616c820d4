"""Orders transactions into durable, hash-chained blocks."""
