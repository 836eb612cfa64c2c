"""Features of items: read from columns, folders and arrays, and made vectors in one space of all domains."""
