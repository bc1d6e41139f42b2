"""What a user may bring: a data set, a defense, a preprocessor. Each says what it must be able to do."""
