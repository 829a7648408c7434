"""Access to data: URIs, folders, object stores, buckets. All writes are atomic."""
