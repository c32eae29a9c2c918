"""How the kit of eviction policies sees I/O; `test_zoo` holds it against policies that lie."""

import os
import threading

from forebay.testing.eviction import asked_of_the_system


def test_what_this_thread_asks_of_the_system_is_seen(tmp_path):
    def elsewhere():
        os.listdir(tmp_path)

    with asked_of_the_system() as asked:
        open(tmp_path / "log", "w").close()
        other = threading.Thread(target=elsewhere)
        other.start()
        other.join()
    os.listdir(tmp_path)
    assert asked == ["open"]
