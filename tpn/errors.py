"""The mistakes a user can mend: one sentence naming the file, the value and the fix; never shown as a traceback."""


class UserError(Exception):
    """Something the user can mend. The command line prints the message alone and exits with status 2."""


class ConfigError(UserError):
    """A config file that cannot be read, or settings that are wrong."""


class DataError(UserError):
    """A list file, a frame folder or a video that cannot be used."""


class CheckpointError(UserError):
    """A checkpoint that is damaged, unsafe, or made for another model."""
