"""Tables made from records; nothing here opens a model."""
