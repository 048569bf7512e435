"""The same component in several kinds of hosts.

Every host writes the same bytes as the native one, and reads what every other wrote. ``cargo xtask test`` runs these
tests, and passes the paths of all programs in the environment: see ``programs.py``.
"""
