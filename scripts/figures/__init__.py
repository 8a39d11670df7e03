"""The figures behind scripts/bench: one file each, all on the rig of rig.py."""
