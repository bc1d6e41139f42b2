"""The records of one or several runs, merged into what a report shows."""
