"""Where data lie: URIs, folders, object stores, buckets; whatever is written is written whole."""
