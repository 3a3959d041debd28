"""The catalog: the project's models and columns, with descriptions and lineage, as one HTML file."""
