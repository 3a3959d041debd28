"""The catalog: what the project's tables are, where each column comes from and what it feeds, as one HTML file."""
