"""Does a plugin keep the promises of the plugin API? Checks of everything a package registers, each with its name.

:func:`rewardbench.conformance.kit.examine` runs them, ``rewardbench plugins check NAME`` prints what they found, and
:mod:`rewardbench.testing` makes a test of each.
"""
