"""The graph of a study, and the ways to run it."""

import os

# protobuf's C implementation orders maps differently in every process. The compiler numbers boxes of one kind in that
# order, and the engine's cache key contains the number, so runs would often miss the cache.
os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
