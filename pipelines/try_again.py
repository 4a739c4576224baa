"""What an error is that time may mend: the command line ends with 75, and a service manager starts it again."""


class TryAgainError(ValueError):
    """Something is not to be had now, held by another or away; the same command may get it later."""
