"""pycket 0.3: sessions and read-once notifications for Tornado, in Redis or Memcached.

Change ``pycket`` to ``coatcheck.compat.pycket`` in the imports. Settings, cookies and the data in the store remain valid.
"""
