"""HTTP: routes, errors, limits and documentation over the core."""
