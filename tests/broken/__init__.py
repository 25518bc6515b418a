"""The library, broken on purpose: mistakes of design, and the test that catches each.

Why. A test that passes says little until it was seen failing. Mutation testing
(docs/mutation.md) sees that for each small mistake: a comparison turned round, a
statement left out. It can't invent what another author would have built instead:
a refresh in the task that asked first, a store without compare-and-swap. That is
what the variants here are.

What earns a place. 1. The variant is a mistake that a careful author could make,
or has made, in this library or in another of its kind. 2. `scripts/mutate.py` does
not make it. 3. No other variant breaks the same promise in the same way. 4. A
session in fair weather works with it.

What is checked. The test that a variant names fails on a copy of the package that
has the mistake. So do the worlds of `tests.simulation`, unless the variant says why
they can't.

``python -m tests.broken`` tries all variants and says what was caught.

================  ===============================================================
``variant``       what a variant is
``one_refresh``   P1 to P5
``cancellation``  P6 to P10, P20, P21
``logged_out``    P11 to P15, P22
``stores``        what sessions that share a store owe each other
``fleet``         many logins, and many hosts: P30, P31, P33
``variants``      all of them
``run``           makes a broken copy, and runs a test or some worlds on it
================  ===============================================================
"""
