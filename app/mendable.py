"""What goes wrong with a command and can be mended by whoever gave it."""


class Mendable(Exception):
    """A failure whose message says all that the user needs to know: the command line shows nothing else."""
