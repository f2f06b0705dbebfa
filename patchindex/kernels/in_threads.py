"""Work on items beside each other: on as many threads as torch uses, if so many can be had."""

import logging
from collections.abc import Callable, Iterable
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

import torch

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """`[work(item) for item in items]`, on torch's number of threads.

    Where the system starts fewer, those do the work; where it starts none, the caller's own does.
    After Ctrl-C or an error of `work`, which is raised here, no further item is begun. Inside of
    `work` torch starts no threads of its own, which would be too many.
    """
    waiting: SimpleQueue[tuple[int, Item]] = SimpleQueue()
    for numbered in enumerate(items):
        waiting.put(numbered)
    results: dict[int, Result] = {}
    errors: list[BaseException] = []
    count, num_threads = waiting.qsize(), torch.get_num_threads()
    take = partial(take_turns, work, waiting, results, errors)
    threads = started(take, min(num_threads, count))
    try:
        if not threads:
            take()
        for thread in threads:
            thread.join()
    except BaseException as error:
        errors.append(error)  # Ctrl-C: no thread begins another item
        raise
    finally:
        for thread in threads:
            thread.join()
        torch.set_num_threads(num_threads)
    if errors:
        raise errors[0]
    return [results[number] for number in range(count)]


def take_turns(
    work: Callable[[Item], Result],
    waiting: SimpleQueue[tuple[int, Item]],
    results: dict[int, Result],
    errors: list[BaseException],
) -> None:
    """Work on one waiting item after another, until none is left or there was an error."""
    torch.set_num_threads(1)  # of this thread, and of those that start after it
    try:
        while not errors:
            number, item = waiting.get_nowait()
            results[number] = work(item)
    except Empty:
        pass
    except BaseException as error:
        errors.append(error)  # raised again where the caller waits


def started(target: Callable[[], None], wanted: int) -> list[Thread]:
    """Running threads: so many, or as many as the system starts."""
    threads: list[Thread] = []
    for _ in range(wanted):
        thread = Thread(target=target)
        try:
            thread.start()
        except RuntimeError as error:
            logger.info("%d of %d threads serve: %s", len(threads), wanted, error)
            break
        threads.append(thread)
    return threads
