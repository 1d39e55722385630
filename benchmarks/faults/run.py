"""Proves what happens to paid answers when things go wrong: ``python benchmarks/faults/run.py [CAMPAIGN]``.

Campaigns: ``faults`` (a provider that fails), ``kills`` (signal 9), ``sharing`` (several processes, and folders
in which SQLite cannot work). Exit status: 0 every promise was kept, 1 one was broken.
"""

from __future__ import annotations

import argparse
import sys
import time

import fault_campaign
import kill_campaign
import sharing_campaign


def main() -> int:
    """Run the campaigns that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("campaign", nargs="?", choices=["faults", "kills", "sharing"], help="default: all three")
    parser.add_argument("--quick", action="store_true", help="a small version of each")
    parser.add_argument("--seed", type=int, default=1, help="other faults and other moments")
    arguments = parser.parse_args()
    broken = 0
    for name in [arguments.campaign] if arguments.campaign else ["faults", "kills", "sharing"]:
        print(f"## {name}\n", flush=True)
        started = time.monotonic()
        broken += _run(name, quick=arguments.quick, seed=arguments.seed)
        print(f"\n{time.monotonic() - started:.0f} s in all.\n", flush=True)
    print(f"{broken} promises were broken." if broken else "Every promise was kept.")
    return 1 if broken else 0


def _run(name: str, *, quick: bool, seed: int) -> int:
    if name == "faults":
        return fault_campaign.campaign(12 if quick else 60, seed)
    if name == "kills":
        return kill_campaign.campaign(6 if quick else 100, 400 if quick else 2000, seed)
    return sharing_campaign.campaign(400 if quick else 2000)


if __name__ == "__main__":
    sys.exit(main())
