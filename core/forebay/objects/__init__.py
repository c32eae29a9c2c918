"""The semantics: what S3 operations mean for catalog, cache and under stores."""
