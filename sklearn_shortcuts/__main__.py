"""The command line: ``python -m sklearn_shortcuts demo``."""

import argparse
from pathlib import Path


def main(arguments=None):
    """Run the command that the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m sklearn_shortcuts", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser(
        "demo", help="run the main job on generated and real images; write pictures and a report"
    )
    demo.add_argument("--output", type=Path, default=Path("demo"), help="folder to write to (default: demo)")
    demo.add_argument(
        "--data",
        type=Path,
        default=None,
        help="folder of real studies (default: the environment variable SKLEARN_SHORTCUTS_DATA, if set)",
    )
    demo.add_argument("--quick", action="store_true", help="smaller and faster, to see that everything works")
    commands.add_parser("versions", help="print the versions of everything the library stands on")
    options = parser.parse_args(arguments)
    if options.command == "versions":
        from ._show_versions import show_versions

        show_versions()
    else:
        from .report._demo import run_demo

        run_demo(options.output, data=options.data, quick=options.quick)


if __name__ == "__main__":
    main()
