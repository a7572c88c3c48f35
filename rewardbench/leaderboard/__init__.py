"""The leaderboard: bundles made from runs, checked by recomputing every number, shown as static pages.

Rooms: ``archive`` (the one that opens foreign files), ``bundle`` (what a bundle holds), ``submission`` (a run becomes
one), ``known`` (benchmark versions a board accepts), ``recomputing``, ``verification``, ``board`` (rows computed from
bundles), ``site`` (pages), ``folder`` (a board's folder as a whole), ``serving``, ``publishing``.
"""
