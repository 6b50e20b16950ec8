import signal
import threading

import pytest

from earsight.tasks.machine.interrupt import deferred_interrupt


def interrupted(times: int, steps: list[str]) -> None:
    with deferred_interrupt() as asked:
        steps.append(f"asked: {asked()}")
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
            steps.append("not in the middle")
        steps.append(f"asked: {asked()}")


def test_the_first_interrupt_is_noted_and_the_second_ends_it() -> None:
    before = signal.getsignal(signal.SIGINT)
    steps: list[str] = []
    with pytest.raises(KeyboardInterrupt):  # nobody acted on it: it is not lost
        interrupted(1, steps)
    assert steps == ["asked: False", "not in the middle", "asked: True"]
    steps.clear()
    with pytest.raises(KeyboardInterrupt):
        interrupted(2, steps)
    assert steps == ["asked: False", "not in the middle"]
    assert signal.getsignal(signal.SIGINT) is before


def test_in_another_thread_nothing_changes() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work() -> None:
        with deferred_interrupt() as asked:
            assert not asked()
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
