"""Every order in which a few scripts can take their steps.

::

    def lost_update(world):
        seen = world.load()
        yield "before the write"
        world.store(seen + 1)


    for run in interleavings(World, lost_update, lost_update):
        assert run.world.value == 2, run  # fails, and tells in which order

A script is a generator function; `in_steps` makes one of a plain function that calls a store, `stepwise` of a generator
that yields requests and is sent their answers.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Generic, TypeVar

from coatcheck.model.ports import Store
from coatcheck.testing.pausing import TIMEOUT, Stuck
from coatcheck.testing.races import place_of
from coatcheck.testing.wrappers import Call, StoreWrapper

__all__ = ["Interleaving", "in_steps", "interleavings", "stepwise"]

T = TypeVar("T")
W = TypeVar("W")
Request = TypeVar("Request")
Answer = TypeVar("Answer")
Result = TypeVar("Result")

Script = Callable[[W], Generator[object, None, object]]

MOST_STEPS = 1_000
"""A script that takes more in one run waits, in a loop, for what never comes."""


class Interleaving(Generic[W]):
    """One run: what the scripts left behind, and in which order they took their steps.

    Attributes:
        world: What the run was played in.
        order: The names of the scripts, one for each step.
        results: What each script returned.
    """

    def __init__(self, world: W, order: tuple[str, ...], results: dict[str, object]) -> None:
        self.world = world
        self.order = order
        self.results = results

    def __repr__(self) -> str:
        return f"<Interleaving {' | '.join(self.order)}>"


def interleavings(
    world: Callable[[], W], *scripts: Script[W], limit: int = 100_000
) -> Iterator[Interleaving[W]]:
    """Run the scripts in every order of their steps, each time in a new world.

    A script is a generator function that takes the world; a step is what it does up to its next ``yield`` (or its
    end). How many steps it takes may depend on what the others did. What a script raises is raised here, with the
    order noted on it.

    Raises:
        Stuck: One run took more than 1,000 steps.
        ValueError: There are more than `limit` orders; shorter scripts are needed.
    """
    choices: list[tuple[int, int]] = []  # at each step: which of the runnable was taken, and of how many
    for _ in range(limit):
        run = _play(world(), scripts, choices)
        yield run
        while choices and choices[-1][0] + 1 == choices[-1][1]:
            choices.pop()
        if not choices:
            return
        taken, among = choices[-1]
        choices[-1] = (taken + 1, among)
    raise ValueError(
        f"There are more than {limit:,} interleavings. Make the scripts shorter, or raise the limit."
    )


def _play(world: W, scripts: tuple[Script[W], ...], choices: list[tuple[int, int]]) -> Interleaving[W]:
    """Follow `choices` as far as they go, then always take the first, and note it."""
    runnable = {name: script(world) for name, script in _named(scripts).items()}
    results: dict[str, object] = {}
    order: list[str] = []
    while runnable:
        step = len(order)
        if step == MOST_STEPS:
            raise Stuck(f"Still running after {MOST_STEPS:,} steps: {', '.join(runnable)}.")
        if step == len(choices):
            choices.append((0, len(runnable)))
        name = list(runnable)[choices[step][0]]
        order.append(name)
        try:
            next(runnable[name])
        except StopIteration as end:
            results[name] = end.value
            del runnable[name]
        except BaseException as error:
            error.add_note(f"in the interleaving {' | '.join(order)}")
            raise
    return Interleaving(world, tuple(order), results)


def _named(scripts: tuple[Script[W], ...]) -> dict[str, Script[W]]:
    named: dict[str, Script[W]] = {}
    for script in scripts:
        name = getattr(script, "__name__", "script")
        number = 1 + sum(other.partition(" ")[0] == name for other in named)
        named[name if number == 1 else f"{name} {number}"] = script
    return named


def stepwise(
    flow: Generator[Request, Answer, Result], perform: Callable[[Request], Answer]
) -> Generator[None, None, Result]:
    """Run `flow` as a script: performing one of its requests, and all it does until the next one, is one step.

    What `perform` raises is thrown into the flow.
    """
    try:
        request = next(flow)
        while True:
            try:
                answer = perform(request)
            except Exception as error:  # noqa: BLE001 - the flow decides what to do with it
                request = flow.throw(error)
            else:
                request = flow.send(answer)
            yield
    except StopIteration as end:
        result: Result = end.value
        return result


class _Steps(StoreWrapper):
    """Stops before each call, until the next step is taken."""

    def __init__(self, store: Store, timeout: float) -> None:
        super().__init__(store)
        self.timeout = timeout
        self.go = threading.Semaphore(0)
        self.stopped = threading.Semaphore(0)
        self.stands = "on its way to its first call"
        self.abandoned = False

    def around(self, call: Call, send: Callable[[], T]) -> T:
        self.stands = f"before {call.method}"
        self.stopped.release()
        self.go.acquire()
        self.stands = f"after {call.method}"
        if self.abandoned:
            raise Stuck("the run was given up")
        return send()


def in_steps(
    run: Callable[[Store], Result], store: Store, *, timeout: float = TIMEOUT
) -> Generator[None, None, Result]:
    """Run `run(store)` as a script: each of its calls to the store, and all it does until the next one, is one step.

    It runs in a thread of its own, and only while a step is taken.

    Raises:
        Stuck: A step did not end in time, since it waits for something that another script holds.
    """
    steps = _Steps(store, timeout)
    results: list[Result] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(run(steps))
        except BaseException as error:  # noqa: BLE001 - it is raised where the step was taken
            errors.append(error)
        finally:
            steps.stopped.release()

    thread = threading.Thread(target=body, name=getattr(run, "__name__", "script"), daemon=True)
    thread.start()
    try:
        _until_stopped(steps, thread)
        while not (results or errors):
            steps.go.release()
            _until_stopped(steps, thread)
            if not (results or errors):
                yield
    finally:
        steps.abandoned = True
        steps.go.release()
    thread.join(timeout)
    if errors:
        raise errors[0]
    return results[0]


def _until_stopped(steps: _Steps, thread: threading.Thread) -> None:
    if not steps.stopped.acquire(timeout=steps.timeout):
        frame = sys._current_frames().get(thread.ident or 0)
        where = "nowhere" if frame is None else place_of(frame)
        raise Stuck(
            f"{thread.name} did not come to its next call within {steps.timeout:g} s."
            f" It stands {steps.stands}, at {where}; what it waits for is held by another script."
        )
