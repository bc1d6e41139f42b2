"""One file a table, and the engine that lays them out."""
