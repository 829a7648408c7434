"""From files as hospitals and public sets have them to squares of grey: what the verb `ingest` is made of."""
