"""The one exception that users are meant to see: a single line that says what is wrong, where, and what to do."""


class TransferError(Exception):
    """Bad configuration or bad data; the message is one line with the place and the remedy."""
