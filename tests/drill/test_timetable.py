"""A timetable says the same to every process that reads it, and nothing outside its times."""

from __future__ import annotations

import math
import time

import pytest

from warmstall.drill.timetable import Fault, Timetable

EPOCH = 1_790_000_000.0


def at(second: float) -> float:
    return EPOCH + second


def test_a_fault_acts_from_its_start_until_before_its_end():
    timetable = Timetable(EPOCH, (Fault("slow_load", start_s=5, end_s=8, intensity=2.5),))
    said = [timetable.strength("slow_load", "mid", at(second)) for second in (0, 4.99, 5, 7.99, 8, 100)]
    assert said == [0, 0, 2.5, 2.5, 0, 0]


def test_a_ramp_grows_evenly_from_nothing():
    timetable = Timetable(EPOCH, (Fault("growing_memory", start_s=10, end_s=60, ramp_s=20, intensity=8.0),))
    said = [timetable.strength("growing_memory", None, at(second)) for second in (10, 15, 20, 30, 59)]
    assert said == pytest.approx([0, 2, 4, 8, 8])


@pytest.mark.parametrize(
    ("of", "asked", "acts"),
    [("mid", "mid", True), ("mid", "mid:latest", True), ("mid:latest", "mid", True), ("mid", "tiny", False),
     (None, "tiny", True), ("mid", None, True)],
)  # fmt: skip
def test_a_fault_concerns_its_model_alone(of, asked, acts):
    timetable = Timetable(EPOCH, (Fault("hang_rate", of),))
    assert (timetable.strength("hang_rate", asked, at(1)) > 0) is acts
    assert timetable.meets("hang_rate", asked, 1, at(1)) is acts


def test_of_two_faults_of_one_kind_the_stronger_counts():
    faults = (Fault("slow_decode", "mid", intensity=2.0), Fault("slow_decode", start_s=5, end_s=6, intensity=6.0))
    timetable = Timetable(EPOCH, faults)
    assert [timetable.strength("slow_decode", "mid", at(second)) for second in (4, 5.5, 7)] == [2.0, 6.0, 2.0]


def test_faults_of_different_kinds_act_side_by_side():
    timetable = Timetable(EPOCH, (Fault("slow_decode", intensity=6.0), Fault("growing_memory", intensity=4.0)))
    assert timetable.strength("slow_decode", "mid", at(1)) == 6.0
    assert timetable.strength("growing_memory", "mid", at(1)) == 4.0
    assert timetable.strength("failed_load", "mid", at(1)) == 0.0


def test_the_share_met_is_the_rate_and_repeats_with_its_seed():
    faults = (Fault("hang_rate", rate=0.25),)

    def met(seed: int) -> list[bool]:
        timetable = Timetable(EPOCH, faults, seed)
        return [timetable.meets("hang_rate", "mid", number, at(1)) for number in range(400)]

    assert met(7) == met(7) != met(8)
    assert sum(met(7)) / 400 == pytest.approx(0.25, abs=0.07)
    assert not Timetable(EPOCH, faults).meets("hang_rate", "mid", 1, at(-1))


def test_every_request_is_met_where_no_rate_is_given():
    timetable = Timetable(EPOCH, (Fault("broken_stream", end_s=5),))
    assert all(timetable.meets("broken_stream", "mid", number, at(1)) for number in range(50))


def test_a_timetable_comes_back_from_its_file_as_it_was(tmp_path):
    faults = (Fault("slow_load", "mid", 1.5, 9.0, 0.5, 2.0, 0.5), Fault("slow_decode"))
    timetable = Timetable(EPOCH, faults, seed=3)
    timetable.save(tmp_path / "timetable.json")
    assert Timetable.load(tmp_path / "timetable.json") == timetable
    assert Timetable.load(str(tmp_path / "timetable.json")).faults[1].end_s == math.inf


def test_nothing_acts_until_the_epoch_is_known(tmp_path):
    """Processes start before it is known when everything has started; they look again."""
    path, faults = tmp_path / "timetable.json", (Fault("slow_load", start_s=1, end_s=60),)
    Timetable(math.inf, faults).save(path)
    read = Timetable.load(path)
    assert read.strength("slow_load", None, at(5)) == 0.0
    Timetable(EPOCH, faults).save(path)
    assert read.strength("slow_load", None, at(5)) == 1.0
    path.unlink()  # what is known is not asked for again
    assert read.strength("slow_load", None, at(6)) == 1.0


def test_without_a_file_nothing_ever_acts():
    timetable = Timetable.load(None)
    assert timetable.faults == ()
    assert timetable.strength("slow_decode", "mid") == 0.0


def test_now_is_the_moment_of_the_question():
    timetable = Timetable(time.time() - 5, (Fault("slow_load", start_s=4, end_s=60),))
    assert timetable.strength("slow_load", None) == 1.0
