"""The workspace's database: connection, schema, and one module per group of tables. SQL stands here alone."""
