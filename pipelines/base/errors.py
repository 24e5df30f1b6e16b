"""What a user can cause."""


class UserError(Exception):
    """One sentence that names the file, the field and the way out; `ml` prints it and exits with 2."""


class Refused(Exception):
    """A verdict, not a mistake: the reason why a step was refused; `ml` prints it and exits with 4."""
