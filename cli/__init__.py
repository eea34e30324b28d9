"""The command line: a typer application, one file a command.

Nothing here imports torch before a command runs, so that ``--help`` answers at once.
"""
