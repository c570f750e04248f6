"""pycket 0.1: as pycket 0.3, in Redis only, with the settings ``pycket_redis`` and ``pycket_cookies``.

Change ``pycket`` to ``coatcheck.compat.pycket01`` in the imports. Settings, cookies and the data in the store remain valid.
"""
