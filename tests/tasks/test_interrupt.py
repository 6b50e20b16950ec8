import signal
import threading

import pytest

from earsight.tasks.interrupt import between_steps


def test_the_first_interrupt_waits_for_the_check_and_the_second_does_not() -> None:
    before = signal.getsignal(signal.SIGINT)
    steps = 0
    with pytest.raises(KeyboardInterrupt), between_steps() as check:
        check()
        signal.raise_signal(signal.SIGINT)
        steps += 1
        check()
        steps += 1
    assert steps == 1
    with pytest.raises(KeyboardInterrupt), between_steps():
        signal.raise_signal(signal.SIGINT)
        steps += 1
        signal.raise_signal(signal.SIGINT)
        steps += 1
    assert steps == 2
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
