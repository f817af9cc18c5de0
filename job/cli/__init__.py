"""The command line: options, settings, log, progress and exit codes."""
