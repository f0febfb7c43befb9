"""python -m motiontrace."""

from motiontrace.cli import main

main()
