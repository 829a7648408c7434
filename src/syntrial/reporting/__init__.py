"""From scores to pages, pictures and tables: what the verb `report` is made of."""
