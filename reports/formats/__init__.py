"""A table as Markdown, CSV, LaTeX, HTML or on a terminal."""
