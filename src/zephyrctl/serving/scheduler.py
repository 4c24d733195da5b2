"""How do the answers of many requests grow in one batch?

One thread holds the model. Before each step of the batch it lets those go for whom nobody waits,
and takes on what stands first in line as far as the budget goes. Prompts are read in parts, so that
a long one holds nobody up for long. The line is strictly first come, first served: nothing
overtakes a request that waits for room. Only those taken on at one time are read by their length,
so that prompts beside each other need little padding.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zephyrctl.errors import EnvironmentProblem, JobFailed, ZephyrctlError
from zephyrctl.generation.rows import Row
from zephyrctl.serving.budget import Budget
from zephyrctl.serving.events import BrokenOff

if TYPE_CHECKING:
    from zephyrctl.generation.decoding import Batch, Reader


_MOST_PARTS = 4
"""Parts of prompts that are read between two steps while more wait for their first token than for
another one."""


@dataclass(eq=False)
class Task:
    """One choice of a request. `grown` is called in the model's thread after each new token, and
    once more where the row has a problem; it may end the row by setting `stopped`."""

    row: Row
    grown: Callable[[Row], None]


class Scheduler:
    """The thread that holds the model."""

    def __init__(
        self,
        reader: Reader,
        *,
        budget: Budget,
        say: Callable[[str], None],
        after_pass: Callable[[], None] = lambda: None,
    ) -> None:
        from zephyrctl.generation.decoding import Batch

        self._new_batch: Callable[[], Batch] = lambda: Batch(reader)
        self._budget = budget
        self._most = budget.rows
        self._say = say
        self._after_pass = after_pass
        self._changed = threading.Condition()
        self._come: list[Task] = []  # not seen by the thread yet
        self._is_ending = False
        self._breaks = False
        self._waiting: deque[Task] = deque()
        self._tasks: dict[int, Task] = {}  # under way, by the row's index
        self._taken: deque[Row] = deque()  # begun next, the shortest first
        self._batch = self._new_batch()
        self._entering: Batch | None = None
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    def submit(self, tasks: Iterable[Task]) -> None:
        """Put tasks at the end of the line; each row's index is one of its own."""
        with self._changed:
            self._come.extend(tasks)
            self._changed.notify()

    def leave(self, rows: Iterable[Row]) -> None:
        """Let rows go before the next pass: nobody waits for them any more."""
        for row in rows:
            row.is_left = True
        with self._changed:
            self._changed.notify()

    def break_off(self) -> None:
        """Give everything under way and in line a problem that says so."""
        with self._changed:
            self._breaks = True
            self._changed.notify()

    def close(self) -> None:
        """End after the pass under way; what is not done is told."""
        with self._changed:
            self._is_ending = self._breaks = True
            self._changed.notify()
        self._thread.join()

    # ----------------------------------------------------------------- in the model's thread

    def _work(self) -> None:
        import torch

        with torch.inference_mode():
            while self._take_in():
                try:
                    self._pass()
                except Exception as error:  # a thread has nobody else to tell
                    self._fail(self._under_way(), _problem(error))
                    self._reset()
                self._after_pass()

    def _take_in(self) -> bool:
        """Wait for something to do; false once that is nothing ever again."""
        with self._changed:
            while not (self._come or self._breaks or self._is_busy):
                self._changed.wait()
            self._waiting.extend(self._come)
            self._come.clear()
            breaks, self._breaks = self._breaks, False
            is_ending = self._is_ending
        if breaks:
            waiting = [task.row for task in self._waiting]
            self._tasks |= {task.row.index: task for task in self._waiting}
            self._waiting.clear()
            self._fail([*self._under_way(), *waiting], BrokenOff())
            self._reset()
            self._after_pass()
        return not is_ending

    @property
    def _is_busy(self) -> bool:
        return bool(self._waiting or self._taken or self._entering or self._batch.rows)

    def _pass(self) -> None:
        """Let go, read of the prompts, and one more token for everybody."""
        try:
            self._let_go()
            self._take_on()
            self._read_prompts()
            self._let_go()
            if self._batch.rows:
                rows = list(self._batch.rows)
                self._batch.step()
                self._tell(rows)
        except RuntimeError as error:
            from zephyrctl.generation.decoding import is_out_of_memory

            if not is_out_of_memory(error):
                raise
            self._make_room()

    @property
    def _columns(self) -> int | None:
        return self._budget.part if self._budget.joins else None

    def _let_go(self) -> None:
        """Rows that are done or left behind leave at once, and so does their memory."""
        if any(task.row.is_left for task in self._waiting):
            self._waiting = deque(task for task in self._waiting if not task.row.is_left)
        if any(row.is_done for row in self._taken):
            self._taken = deque(row for row in self._taken if not row.is_done)
        if self._entering is not None and all(row.is_done for row in self._entering.rows):
            self._entering = None
        if any(row.is_done for row in self._batch.rows):
            self._batch.drop_done()
            if not self._batch.rows:
                self._batch = self._new_batch()
        kept = {row.index for row in self._under_way()}
        self._tasks = {index: task for index, task in self._tasks.items() if index in kept}

    def _take_on(self) -> None:
        """Take on what stands first in line, once those taken on before are all begun."""
        if self._taken or self._entering or (self._batch.rows and not self._budget.joins):
            return
        taken: list[Row] = []
        while self._waiting:
            task = self._waiting[0]
            under_way = [*self._batch.rows, *taken]
            if not self._budget.takes(task.row, under_way, rows=self._most):
                break
            self._tasks[task.row.index] = task
            self._waiting.popleft()
            taken.append(task.row)
            self._taken.append(task.row)  # known as under way whatever happens next
        self._taken = deque(sorted(taken, key=lambda row: len(row.ids)))

    def _read_prompts(self) -> None:
        """Read prompts until the answers under way should go on."""
        parts = 0
        while self._begin():
            assert self._entering is not None
            if self._entering.read(self._columns):
                self._tell(self._entering.rows)
                self._after_pass()
                self._batch.join(self._entering)
                self._entering = None
            parts += 1
            waiting = len(self._taken) + len(self._entering.rows if self._entering else ())
            if parts == _MOST_PARTS or len(self._batch.rows) >= waiting:
                return

    def _begin(self) -> bool:
        """Begin what was taken on: as many short prompts as one part holds, or one long prompt,
        which is read in parts. False where there is nothing to read."""
        if self._entering is not None or not self._taken:
            return self._entering is not None
        count = 1
        if self._columns is None:
            count = len(self._taken)
        while count < len(self._taken) and (
            (count + 1) * len(self._taken[count].ids) <= self._budget.part
        ):
            count += 1
        entering = self._new_batch()
        entering.begin([self._taken[place] for place in range(count)])
        self._entering = entering
        for _ in range(count):
            self._taken.popleft()
        return True

    def _tell(self, rows: Sequence[Row]) -> None:
        """Hand over each row's new token. One that cannot be told does not harm the others."""
        for row in rows:
            if row.is_left or row.index not in self._tasks:
                continue
            try:
                self._tasks[row.index].grown(row)
                if row.is_done:
                    del self._tasks[row.index]  # it knows
            except Exception as error:
                self._fail([row], _problem(error))

    def _fail(self, rows: Sequence[Row], problem: ZephyrctlError) -> None:
        for row in rows:
            task = self._tasks.pop(row.index, None)
            if task is None or row.is_left:
                continue
            row.problem = row.problem or problem
            task.grown(row)

    def _make_room(self) -> None:
        """Go on with half as many after memory ran out; the others stand first in line again."""
        from zephyrctl.generation.decoding import make_room

        rows = sorted((r for r in self._under_way() if not r.is_done), key=lambda row: row.index)
        self._reset()
        try:
            self._most = make_room(rows)
        except EnvironmentProblem as error:
            self._fail(rows, error)
            return
        self._waiting.extendleft(self._tasks.pop(row.index) for row in reversed(rows))
        self._say(
            f"! memory ran out with {len(rows)} answers at once; {self._most} at once from now on"
        )

    def _under_way(self) -> list[Row]:
        entering = self._entering.rows if self._entering is not None else []
        return [*self._batch.rows, *entering, *self._taken]

    def _reset(self) -> None:
        self._entering = None
        self._taken = deque()
        self._batch = self._new_batch()


def _problem(error: Exception) -> ZephyrctlError:
    if isinstance(error, ZephyrctlError):
        return error
    return JobFailed(f"{type(error).__name__}: {error}")
