"""Signals that are asked for."""

import os
import signal
import threading

from forebay.server.signals import Signals


def test_signals_are_taken_note_of_and_put_back():
    before = signal.getsignal(signal.SIGUSR1)
    with Signals(signal.SIGUSR1) as signals:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert signals.wait(5) == ({signal.SIGUSR1}, set())
        signals.wake()
        assert signals.wait(5) == (set(), set())
        assert signals.wait(0) == (set(), set())
    assert signal.getsignal(signal.SIGUSR1) is before


def test_a_descriptor_that_is_closed_at_its_other_end_ends_the_waiting():
    reading, writing = os.pipe()
    with Signals(signal.SIGUSR1) as signals:
        assert signals.wait(0, (reading,)) == (set(), set())
        os.close(writing)
        assert signals.wait(5, (reading,)) == (set(), {reading})
    os.close(reading)


def test_a_signal_ends_the_waiting():
    with Signals(signal.SIGUSR1) as signals:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        assert signals.wait(5) == ({signal.SIGUSR1}, set())


def test_an_ignored_signal_is_not_noted():
    with Signals(ignored=(signal.SIGUSR1,)) as signals:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert signals.wait(0.05) == (set(), set())
