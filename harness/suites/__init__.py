"""What is measured: one file a suite; `base.py` says what one is."""
