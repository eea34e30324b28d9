"""``python -m dynsurgeon``: the command line."""

from dynsurgeon.cli.app import main

if __name__ == "__main__":
    main()
