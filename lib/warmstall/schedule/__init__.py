"""Units, crontabs and jobs that run the health report and, apart from it, the check that there is a fresh one."""
