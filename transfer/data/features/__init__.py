"""Features of items: from columns, folders and arrays to vectors in one space of all domains. No events, no labels."""
