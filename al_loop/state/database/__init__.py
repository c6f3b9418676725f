"""The database: connection, schema, and one module per group of tables. Only these modules contain SQL."""
