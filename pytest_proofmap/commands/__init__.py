"""The commands of ``proofmap``, imported by :mod:`pytest_proofmap.cli` when they are asked for."""
