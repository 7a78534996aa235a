"""Tests of the drill: recorded scenarios of real servers played again, and what differs."""
