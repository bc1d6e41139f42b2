"""What a run leaves: one record a cell, its schema, the database, exhibits and the plan."""
