"""Labelled examples in files of one's own: from tables, arrays and folders of images to domains. No users or items."""
