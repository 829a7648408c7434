"""Running a study on this machine."""
