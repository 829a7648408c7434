"""Numbers that judge, and the verdict they lead to."""
