"""The contracts a plugin author imports: one module per kind of store."""
