"""A representation plays against a discriminator of the domains, or against a second classifier."""
