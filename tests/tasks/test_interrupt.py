import signal
import threading

import pytest

from earsight.tasks.interrupt import between_steps


def interrupted(times: int, steps: list[str]) -> None:
    with between_steps() as check:
        check()
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
            steps.append("not in the middle")
        check()
        steps.append("after the check")


@pytest.mark.parametrize(("times", "expected"), [(1, 1), (2, 1)])
def test_the_first_interrupt_waits_for_the_check_and_the_second_does_not(times: int, expected: int) -> None:
    before = signal.getsignal(signal.SIGINT)
    steps: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(times, steps)
    assert steps == ["not in the middle"] * expected
    assert signal.getsignal(signal.SIGINT) is before


def test_in_another_thread_nothing_changes() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work() -> None:
        with between_steps() as check:
            check()
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
