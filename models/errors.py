"""What can go wrong for a user, and the exit code each kind ends with.

    MarginalError
    ├── ConfigError (2)            usage, or something in marginal.yaml
    ├── DataError (3)              data failed a blocking check
    ├── GateError (4)              no model passed its gate and there is no champion to fall back on
    ├── InfeasiblePlan (5)         the constraints of the plan contradict each other
    ├── WorkspaceLocked (6)        another run holds the workspace
    └── OutsideServiceError (7)    something we do not run did not answer

A message says what was found, what was expected and what to do, in one to five lines.
"""


class MarginalError(Exception):
    """A user's problem: printed as plain lines on stderr, never as a traceback.

    Signs that would steer a terminal, such as those that turn the direction of writing, are shown as a dot.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__("\n".join(printable(line) for line in message.splitlines()))


def printable(text: str) -> str:
    """A text in one line, each sign that has no shape of its own as a dot."""
    return "".join(sign if sign.isprintable() else "·" for sign in text)


class ConfigError(MarginalError):
    """Usage, or something in marginal.yaml, is wrong."""

    exit_code = 2


class DataError(MarginalError):
    """Data failed a blocking check: no plan may be built on it."""

    exit_code = 3


class GateError(MarginalError):
    """The model failed its gate and no champion can stand in."""

    exit_code = 4


class InfeasiblePlan(MarginalError):
    """No plan meets the constraints; the message names the ones that conflict."""

    exit_code = 5


class WorkspaceLocked(MarginalError):
    """Another run holds this workspace."""

    exit_code = 6


class OutsideServiceError(MarginalError):
    """A service outside the project did not answer as it must."""

    exit_code = 7
