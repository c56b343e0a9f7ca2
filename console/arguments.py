"""Read a command line with argparse, and report a wrong one as a key of the catalogues instead of argparse's English."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

_MESSAGES = (  # of argparse, and the keys of their sentences
    (r"argument (?P<name>[^:]+): expected .*arguments?", "no_value"),
    (r"argument (?P<name>[^:]+): ignored explicit argument .*", "takes_no_value"),
    (r"unrecognized arguments: (?P<name>-\S*).*", "no_option"),
    (r"unrecognized arguments: (?P<values>.*)", "extra"),
    (r"ambiguous option: (?P<name>\S+) could match (?P<known>.*)", "ambiguous"),
    (r"the following arguments are required: (?P<name>.*)", "missing"),
)


class WrongCall(Exception):
    """A command line that cannot be read; `cli.usage.<key>` is its sentence in the catalogues, filled with `values`."""

    def __init__(self, key: str, values: dict[str, str]) -> None:
        super().__init__(key, values)
        self.key, self.values = f"cli.usage.{key}", values


class Parser(argparse.ArgumentParser):
    """Raises WrongCall where argparse would print its usage and end the process."""

    def error(self, message: str) -> NoReturn:
        for pattern, key in _MESSAGES:
            if found := re.fullmatch(pattern, message, re.DOTALL):
                raise WrongCall(key, found.groupdict())
        raise WrongCall("other", {"message": message})
