"""What waits its turn lets sockets be read in between, and goes in the order in which it came."""

import gevent
from gevent import socket

from app.turnstile import take_turn


def test_a_socket_is_read_between_two_turns() -> None:
    ours, theirs = socket.socketpair()
    order: list[str] = []

    def work(name: str) -> None:
        take_turn()
        if not order:
            theirs.send(b"probe")  # arrives while all the others are ready to go
        order.append(name)

    def read() -> None:
        ours.recv(8)
        order.append("probe")

    with ours, theirs:
        tasks = [gevent.spawn(read), *(gevent.spawn(work, str(n)) for n in range(20))]
        gevent.joinall(tasks, timeout=10, raise_error=True)
    assert order.index("probe") <= 2
    assert [name for name in order if name != "probe"] == [str(n) for n in range(20)]


def test_whoever_takes_many_turns_lets_a_later_one_have_its_own() -> None:
    taken: list[str] = []

    def upload(name: str) -> None:
        for _ in range(50):  # its next piece is there already, so that it never waits for a socket
            take_turn()
            taken.append(name)

    def request() -> None:
        while len(taken) < 10:
            gevent.sleep(0.001)
        taken.append("asked")
        take_turn()
        taken.append("request")

    tasks = [gevent.spawn(upload, "a"), gevent.spawn(upload, "b"), gevent.spawn(request)]
    gevent.joinall(tasks, timeout=10, raise_error=True)
    assert taken.index("request") - taken.index("asked") <= 6
    assert abs(taken[:40].count("a") - taken[:40].count("b")) <= 4


def test_one_that_runs_out_of_time_before_its_turn_holds_up_nobody() -> None:
    def give_up() -> bool:
        with gevent.Timeout(0.001, False):
            while True:
                take_turn()
        return True

    def go_on() -> None:
        for _ in range(100):
            take_turn()

    tasks = [gevent.spawn(give_up) for _ in range(5)] + [gevent.spawn(go_on) for _ in range(5)]
    assert len(gevent.joinall(tasks, timeout=10, raise_error=True)) == 10
