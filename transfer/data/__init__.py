"""Domains and worlds: from files to arrays on the device, split. Nothing here knows a method, a model or a program."""
