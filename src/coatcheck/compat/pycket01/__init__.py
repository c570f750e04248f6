"""pycket 0.1: the same with the settings ``pycket_redis`` and ``pycket_cookies``, and in Redis only.

Change ``pycket`` to ``coatcheck.compat.pycket01`` in the imports. Settings, cookies, keys and values in the store stay.
"""
