"""The leaderboard: bundles made from runs, checked by recomputing every number, shown as static pages.

Rooms: ``archive`` (the one that opens foreign files), ``bundle`` (what a bundle holds), ``submission`` (a run becomes
one), ``trial`` (what a board would say of it), ``known`` (benchmark versions a board accepts), ``items`` and
``declared`` (is what it holds the benchmark's, and the models'), ``recomputing``, ``verification``, ``board`` (rows
computed from bundles), ``disagreement`` (its pairs), ``site`` (pages), ``folder`` (a board's folder as a whole),
``serving``, ``publishing``.
"""
