"""What a launch has left to do, and what becomes of a training without rows.

It knows neither Ray nor training, only outcomes. A lost worker's training gets further attempts,
later and not for ever. A computer on which everything fails is avoided, and what failed there runs
elsewhere. When only failures come, the launch ends early.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from study.grid import Training
from study.scheduling.failure import RETRIED, Cause, record_failure
from study.scheduling.watchdog import clear_stacks, stacks_of_hang
from study.scheduling.work import Ended, Work
from study.store import Store
from study.store.errors import StorageError
from study.store.leases import Lease, Leases

POLL = 2.0
"""Seconds between two looks at a training that somebody else works on."""
BACK_OFF = 5.0
"""Seconds before the second attempt of a training; they double with each further one."""
TOGETHER = 10.0
"""Seconds after a kill in which another one on the same computer has the same cause.

Ray's memory monitor then kills several workers although one alone took the memory.
"""
BAD_NODE = 3
"""Trainings that fail on a computer, one after another and there alone, until it is avoided."""
GIVE_UP = 10
"""Trainings that fail for one cause, with no success in between, until the launch ends."""


Nodes = Mapping[str, Mapping[str, float]]
"""Computers that can take work, by name: how many `cpus` and `gpus` each has."""


class Backlog:
    """The trainings of one launch that are waiting, handed out, or postponed."""

    afterwards = "the rest is left alone. Once that is mended, launch again with --retry-failed"

    def __init__(
        self,
        run_dir: Path,
        pending: Iterable[Training],
        launch: str,
        *,
        git_sha: str | None = None,
        parallel: int | None = None,
        nodes: Callable[[], Nodes] = dict,
        say: Callable[[str], None] = print,
    ) -> None:
        """Begin with the trainings that are pending.

        Args:
            run_dir: the run.
            pending: its trainings, in the order in which they are handed out.
            launch: name of the launch.
            git_sha: commit of the code, for rows.
            parallel: trainings at a time; None: as many as the scheduler can position.
            nodes: the computers that can take work now.
            say: tells the user what was decided.
        """
        self.store = Store(run_dir)
        self.leases = Leases(self.store.paths.leases)
        self.run_dir, self.launch, self.git_sha = run_dir, launch, git_sha
        self.parallel, self.nodes, self.say = parallel, nodes, say
        self.waiting = deque(pending)
        self.position = {training.key: number for number, training in enumerate(self.waiting)}
        self.postponed: list[tuple[float, Training]] = []
        self.out: dict[str, Training] = {}
        self.ending: str | None = None
        self.attempts: Counter[str] = Counter()
        self.streak: Counter[Cause] = Counter()
        self.failed_at: list[int] = []
        self.suspects: dict[str, dict[str, Training]] = {}
        self.gone: dict[str, str] = {}
        self.largest: dict[str, tuple[float, int]] = {}

    @property
    def finished(self) -> bool:
        """Nothing is handed out, and nothing is left that this launch may hand out."""
        return not self.out and (self.ending is not None or not (self.waiting or self.postponed))

    @property
    def avoided(self) -> tuple[str, ...]:
        """Computers on which everything fails, as long as there is another."""
        bad = [node for node, failed in self.suspects.items() if len(failed) >= BAD_NODE]
        return tuple(bad) if set(self.nodes()) - set(bad) else ()

    @property
    def upcoming(self) -> Collection[Training]:
        """Trainings to come, to see beforehand whether they fit a computer."""
        return self.waiting

    def settle(self) -> bool:
        """Take note of what has ended; whether nothing is left to do."""
        return self.finished

    def end(self, reason: str) -> None:
        """Hand out nothing more."""
        self.ending = self.ending or reason

    def next(self) -> Work | None:
        """The next training; None where there is none that could start now."""
        if self.ending is not None or (
            self.parallel is not None and len(self.out) >= self.parallel
        ):
            return None
        clock = time.monotonic()
        due = [training for when, training in self.postponed if when <= clock]
        self.postponed = [(when, training) for when, training in self.postponed if when > clock]
        self.waiting.extendleft(reversed(due))
        if len(self.failed_at) >= BAD_NODE:
            self._look_elsewhere()
        while self.waiting:
            training = self.waiting[0]  # it leaves the list once nothing can fail any more
            left = self.store.pending(cell.key for cell in training.cells)
            stale = self.leases.stale_owner(training.key)
            busy = self.leases.busy(training.key) and self.gone.get(training.key) != stale
            self.waiting.popleft()
            if left and busy:
                self._postpone(training, POLL)
            elif left:
                self.out[training.key] = training
                return Work(training.only(left), self.run_dir, self.launch, self.git_sha, stale)
        return None

    def ended(self, key: str, ended: Ended, node: str = "") -> None:
        """A training that was handed out came to an end on a computer."""
        if ended.outcome == "lost":
            self.lost(key, ended.message)
            return
        training = self.out[key]
        if ended.outcome == "busy":
            self._postpone(training, POLL)
        elif ended.outcome == "done":
            self._forget_streak()
            self.suspects.pop(node, None)
        elif ended.outcome == "failed" and ended.cause is not None:
            self._failed(training, ended.cause, ended.message, node)
        del self.out[key]

    def lost(self, key: str, message: str, *, out_of_memory: bool = False) -> None:
        """The worker of a training has ended without a word.

        It was killed, or its watchdog ended it as it hung, or its computer is down.
        """
        training = self.out[key]
        folder = self.store.paths.training(key)
        lease = self.leases.get(key)
        mine = lease is not None and lease.launch == self.launch
        if lease is not None and mine:
            self.gone[key] = lease.owner
        if out_of_memory and lease is not None and mine and self._beside_a_larger(lease):
            self.say(
                f"training {key[:8]}: killed for want of memory beside a larger one; "
                f"again in {BACK_OFF:.0f} s"
            )
            self._postpone(training, BACK_OFF)
            del self.out[key]
            return
        cause: Cause = "out_of_memory" if out_of_memory else "node_lost"
        if (stacks := stacks_of_hang(folder)) is not None:
            minutes = training.first.resources.hang_minutes
            cause, message = (
                "timeout",
                f"nothing moved for {minutes:g} minutes; the stacks of its threads:\n{stacks}",
            )
            clear_stacks(folder)
        self._failed(training, cause, message, lease.node if lease is not None and mine else "")
        del self.out[key]

    def _beside_a_larger(self, lease: Lease) -> bool:
        """Whether a training was killed for the memory of another one on its computer.

        The other occupies more, or did when it was killed itself just now: Ray's memory monitor
        kills by age, several at once, and does not see what trainings occupy.
        """
        killed, memory = self.largest.get(lease.node, (0.0, 0))
        others = [
            other
            for key in self.out
            if (other := self.leases.get(key)) is not None and other.node == lease.node
        ]
        if time.monotonic() - killed < TOGETHER and memory > lease.memory:
            return True
        if any(other.memory > lease.memory for other in others):
            return True
        self.largest[lease.node] = (time.monotonic(), lease.memory)
        return False

    def abandoned(self, message: str, *, killed: Collection[int] = ()) -> None:
        """Take back every training that was handed out: the scheduler gave up.

        `killed`: numbers of the worker processes that ran out of memory, as the scheduler says.
        Only their trainings have used an attempt.
        """
        self.say(
            f"Ray ended the sweep ({message.splitlines()[0]}); what is missing goes to it again"
        )
        blamed = False
        for training in list(self.out.values()):
            lease = self.leases.get(training.key)
            if lease is not None and lease.launch == self.launch and lease.waiting in killed:
                blamed = True
                self.lost(training.key, message, out_of_memory=True)
            else:
                self._postpone(training, POLL)
                del self.out[training.key]
        if not blamed:
            self.streak["node_lost"] += 1
            self._give_up_if_hopeless("node_lost", message)

    def _look_elsewhere(self) -> None:
        """Bring forward the training farthest from those that failed.

        Failures lie together in a grid.
        """
        if self.waiting:
            positions = [self.position[training.key] for training in self.waiting]
            far = max(
                range(len(positions)),
                key=lambda n: min(abs(positions[n] - failed) for failed in self.failed_at),
            )
            training = self.waiting[far]
            del self.waiting[far]
            self.waiting.appendleft(training)

    def _forget_streak(self) -> None:
        self.streak.clear()
        self.failed_at.clear()

    def _postpone(self, training: Training, seconds: float) -> None:
        self.postponed.append((time.monotonic() + seconds, training))

    def _failed(self, training: Training, cause: Cause, message: str, node: str) -> None:
        """Try once more, here or elsewhere, or leave it at a record."""
        first_line = message.splitlines()[0] if message else ""
        recorded = self._record(training, cause, message, node)
        if cause in RETRIED or not recorded:
            self.attempts[training.key] += 1
            used, allowed = self.attempts[training.key], training.first.resources.retries + 1
            if used < allowed:
                pause = BACK_OFF * 2 ** (used - 1)
                self.say(
                    f"training {training.key[:8]}: {cause} ({first_line}); "
                    f"attempt {used + 1} of {allowed} in {pause:.0f} s"
                )
                self._again(training, pause)
                return
        if cause != "diverged" and self._blame(training, node):
            return
        self.streak[cause] += 1
        self.failed_at.append(self.position[training.key])
        self._give_up_if_hopeless(cause, first_line)

    def _again(self, training: Training, pause: float) -> None:
        for cell in training.cells:
            self.store.forget_failure(cell.key)
        self._postpone(training, pause)

    def _record(self, training: Training, cause: Cause, message: str, node: str) -> bool:
        """Record the failure of cells of which the worker could not.

        False where the disk does not take the record: another attempt may then find room for rows.
        """
        try:
            for cell in sorted(self.store.pending(cell.key for cell in training.cells)):
                record_failure(
                    self.store, training.key, cell, message, cause, host=node or "unknown"
                )
        except StorageError:
            raise
        except OSError as error:
            self.say(f"training {training.key[:8]}: its failure cannot be recorded: {error}")
            return False
        return True

    def _blame(self, training: Training, node: str) -> bool:
        """Whether the computer is blamed, so that the training runs again elsewhere."""
        if not node:
            return False
        elsewhere = [
            other
            for other, failed in self.suspects.items()
            if other != node and training.key in failed
        ]
        if elsewhere:  # it fails wherever it runs
            for other in elsewhere:
                del self.suspects[other][training.key]
            return False
        suspects = self.suspects.setdefault(node, {})
        suspects[training.key] = training
        if node not in self.avoided:
            return False
        if len(suspects) > BAD_NODE:
            self._again(training, 0.0)
            return True
        self.say(
            f"node {node[:12]}: {BAD_NODE} trainings in a row failed there: "
            "it is avoided, they run elsewhere"
        )
        self._forget_streak()
        for failed in suspects.values():
            self._again(failed, 0.0)
        return True

    def _give_up_if_hopeless(self, cause: Cause, message: str) -> None:
        if self.streak[cause] >= GIVE_UP:
            self.end(
                f"{GIVE_UP} trainings in a row failed for one cause ({cause}: {message}) "
                f"and none succeeded: {self.afterwards}"
            )
