"""Compare two ways of doing the same work: interleaved repeats in one process, medians, ratios."""

import statistics
import time
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Comparison:
    """Medians of two ways of doing the same work; a ratio below 1 means that ours is cheaper.

    Attributes
    ----------
    name : str
        What was compared.
    wall, cpu : float
        Median seconds of ours: elapsed, and of processor time over all threads and child processes.
    peer_wall, peer_cpu : float
        The same of the peer.
    wall_ratio, cpu_ratio : float
        Median over the repeats of ours divided by the peer's of the same repeat. Pairing each run with its neighbor
        takes out slow changes of the machine's speed.
    repeats : int
        Number of pairs measured.
    """

    name: str
    wall: float
    cpu: float
    peer_wall: float
    peer_cpu: float
    wall_ratio: float
    cpu_ratio: float
    repeats: int

    def __str__(self):
        return (
            f"{self.name:<44} wall {self.wall * 1e3:9.1f} ms, peer {self.peer_wall * 1e3:9.1f} ms, "
            f"ratio {self.wall_ratio:5.2f} | cpu ratio {self.cpu_ratio:5.2f}"
        )


def compare(ours, peer, *, repeats=5, warmup=1, name=""):
    """Time two callables that do the same work, in alternation.

    Parameters
    ----------
    ours, peer : callable
        Called without arguments. Whatever must not be timed belongs outside.
    repeats : int, default=5
        Number of measured pairs. The order within a pair alternates, so that neither always runs on a warm cache.
    warmup : int, default=1
        Unmeasured calls of each beforehand, which pay for imports, thread pools and compilation.
    name : str, default=""
        What is compared, for printing.

    Returns
    -------
    Comparison
        Medians and ratios; ``print`` gives one line.
    """
    for _ in range(warmup):
        ours()
        peer()
    samples = {"ours": [], "peer": []}
    for repeat in range(repeats):
        pair = [("ours", ours), ("peer", peer)]
        for key, function in pair if repeat % 2 == 0 else reversed(pair):
            samples[key].append(measure(function))
    wall, cpu = zip(*samples["ours"])
    peer_wall, peer_cpu = zip(*samples["peer"])
    return Comparison(
        name=name,
        wall=statistics.median(wall),
        cpu=statistics.median(cpu),
        peer_wall=statistics.median(peer_wall),
        peer_cpu=statistics.median(peer_cpu),
        wall_ratio=_median_ratio(wall, peer_wall),
        cpu_ratio=_median_ratio(cpu, peer_cpu),
        repeats=repeats,
    )


def measure(function):
    """Run a callable once.

    Parameters
    ----------
    function : callable
        Called without arguments.

    Returns
    -------
    wall, cpu : float
        Seconds elapsed, and seconds of processor time of all threads and child processes.
    """
    cpu, wall = _cpu_seconds(), time.perf_counter()
    function()
    return time.perf_counter() - wall, _cpu_seconds() - cpu


def _cpu_seconds():
    """Processor time of this process and its children, of those that have ended and those that still run."""
    process = psutil.Process()
    times = process.cpu_times()
    total = time.process_time() + times.children_user + times.children_system
    for child in process.children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:  # ended meanwhile: counted among this process's ended children the next time
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def _median_ratio(ours, peer):
    # A clock that ticks coarsely may give 0 for a very short run.
    return statistics.median(mine / theirs if theirs > 0 else float("nan") for mine, theirs in zip(ours, peer))
