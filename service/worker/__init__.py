"""Who computes the answers of queries: a thread of `motiontrace serve`, or processes of `motiontrace worker`.

`loop` takes queries and ends them, `lease` holds on to the one in hand, `housekeeping` removes old uploads,
`process` is a worker without the API.
"""

from motiontrace.service.worker.loop import Worker

__all__ = ["Worker"]
