"""PostgreSQL: the schema, the pool, and one access file for each noun."""
