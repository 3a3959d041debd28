"""meshflow: the reference SQLMesh warehouse."""
