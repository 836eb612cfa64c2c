"""A representation plays against a discriminator of the domains, or a second classifier. Nothing here is a closed form."""
