"""Property lists that parse, of documented keys, and that hold every word as it is."""

from __future__ import annotations

import plistlib

import pytest
from hypothesis import given, settings

from schedule.wishes import NASTY, paths, schedule
from warmstall.schedule.jobs import jobs
from warmstall.schedule.launchd import print_lists

# launchd.plist(5) of macOS 15: the keys that are not obsolete, and their types.
DOCUMENTED = {
    "Label": str, "Disabled": bool, "UserName": str, "GroupName": str, "Program": str, "BundleProgram": str,
    "ProgramArguments": list, "EnableGlobbing": bool, "EnableTransactions": bool, "EnablePressuredExit": bool,
    "KeepAlive": (bool, dict), "RunAtLoad": bool, "RootDirectory": str, "WorkingDirectory": str,
    "EnvironmentVariables": dict, "Umask": (int, str), "TimeOut": int, "ExitTimeOut": int, "ThrottleInterval": int,
    "InitGroups": bool, "WatchPaths": list, "QueueDirectories": list, "StartOnMount": bool, "StartInterval": int,
    "StartCalendarInterval": (dict, list), "StandardInPath": str, "StandardOutPath": str, "StandardErrorPath": str,
    "Debug": bool, "WaitForDebugger": bool, "SoftResourceLimits": dict, "HardResourceLimits": dict, "Nice": int,
    "ProcessType": str, "AbandonProcessGroup": bool, "LowPriorityIO": bool, "LowPriorityBackgroundIO": bool,
    "MaterializeDatalessFiles": bool, "LaunchOnlyOnce": bool, "MachServices": dict, "Sockets": dict,
    "LaunchEvents": dict, "SessionCreate": bool, "LegacyTimers": bool, "AssociatedBundleIdentifiers": (str, list),
    "LimitLoadToSessionType": (str, list), "LimitLoadToHardware": dict, "LimitLoadFromHardware": dict,
    "inetdCompatibility": dict, "SpawnConstraint": dict,
}  # fmt: skip
TIMES = {"Minute": range(60), "Hour": range(24), "Day": range(1, 32), "Weekday": range(8), "Month": range(1, 13)}


@pytest.mark.parametrize("user", ["", "warmstall"])
def test_every_key_is_documented_and_of_its_type(user: str) -> None:
    wished = schedule(watch=True, user=user, every_s=21600.0, alerts="/srv/alerts.toml")
    for file, job in zip(print_lists(wished), jobs(wished), strict=True):
        found = plistlib.loads(file.text.encode())
        assert all(isinstance(value, DOCUMENTED[key]) for key, value in found.items())  # type: ignore[arg-type]
        assert file.name == f"{found['Label']}.plist"
        assert found.get("UserName", "") == user
        assert found["ProcessType"] in ("Background", "Standard", "Adaptive", "Interactive")
        for one in found.get("StartCalendarInterval", []):
            assert all(value in TIMES[key] for key, value in one.items())
        words = found["ProgramArguments"]
        assert {"--longest", "--memory"} <= set(words)  # launchd bounds neither
        assert tuple(words[words.index("--") + 1 :]) == job.words


def test_what_slept_is_started_once_after_waking() -> None:
    """launchd.plist(5): StartCalendarInterval is caught up after a sleep, StartInterval is not."""
    report, check = (plistlib.loads(file.text.encode()) for file in print_lists(schedule()))

    assert "StartCalendarInterval" in report
    assert "StartInterval" not in report
    assert "KeepAlive" not in report  # exit codes start nothing again
    # Both are due on waking: the check then leaves the report time.
    assert "--settle" in check["ProgramArguments"]


@given(paths())
@settings(max_examples=100, deadline=None)
def test_a_path_is_read_back_as_it_is(path: str) -> None:
    report = plistlib.loads(print_lists(schedule(out=path))[0].text.encode())
    words = report["ProgramArguments"]

    assert words[words.index("--out") + 1] == path
    assert report["StandardErrorPath"] == f"{path}/warmstall-report.log"


def test_a_nasty_path_too() -> None:
    assert NASTY in plistlib.loads(print_lists(schedule(out=NASTY))[0].text.encode())["ProgramArguments"]
