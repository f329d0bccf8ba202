"""The schema's history: one numbered module per change, applied in order by `redflag_store.migrate`."""
