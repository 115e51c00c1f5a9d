"""How often a reaction is tried again, and after how long. Arithmetic: it decides, it does not sleep."""

from dataclasses import dataclass
from datetime import timedelta

from callboard.errors import ContractError, place


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """`max_attempts` counts runs from 1, so `max_attempts=1` never tries again."""

    max_attempts: int = 5
    first_wait: timedelta = timedelta(seconds=1)
    max_wait: timedelta = timedelta(minutes=10)
    factor: float = 2.0
    jitter: float = 0.2
    never: type[BaseException] | tuple[type[BaseException], ...] = ()
    only: type[BaseException] | tuple[type[BaseException], ...] | None = None

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ContractError(f"{place()} Retry", "max_attempts= counts runs from 1: 1 means no second attempt")
        if self.first_wait < timedelta(0):
            raise ContractError(f"{place()} Retry", f"first_wait= is a wait, not {self.first_wait}")
        if self.max_wait < self.first_wait:
            raise ContractError(f"{place()} Retry", "max_wait= is the longest wait: not shorter than first_wait=")
        if self.factor < 1 or self.jitter < 0:
            raise ContractError(f"{place()} Retry", "waits only grow: factor= is 1 or more, jitter= is 0 or more")

    def wait_after(self, attempts: int, error: BaseException | None, draw: float) -> timedelta | None:
        """How long to wait after that many attempts, the last of which ended with `error`; None: no further attempt.

        `draw` is a chance in [0, 1): it only ever lengthens the wait.
        """
        if attempts >= self.max_attempts or not self._takes(error):
            return None
        return self._backed_off(attempts) * (1 + self.jitter * draw)

    def _takes(self, error: BaseException | None) -> bool:
        if error is None:  # the process died, nobody saw the error
            return True
        return not isinstance(error, self.never) and (self.only is None or isinstance(error, self.only))

    def _backed_off(self, attempts: int) -> timedelta:
        try:
            return min(self.first_wait * self.factor ** (attempts - 1), self.max_wait)
        except OverflowError:
            return self.max_wait
