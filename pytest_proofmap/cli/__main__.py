"""``python -m pytest_proofmap.cli``, where the script ``proofmap`` is not on the path."""

from pytest_proofmap.cli import main

main(prog_name="proofmap")
