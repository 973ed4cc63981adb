"""A stand-in for Modal's control plane, on loopback: the real client talks to it, real containers run under it.

Nothing of Modal is replaced but the servers: ``modal`` (CLI and SDK) speaks gRPC to `FakeModal`, and function bodies
run in ``modal._container_entrypoint``, one process per container, with their own view of the file system and their own
copy of every volume. See `standin.py` for the library, ``python -m tests.support.fakemodal --help`` for use by hand.

As on Modal
    Deployments and redeployments (ids stay; old containers finish what they have and take nothing new; ``recreate``
    interrupts them), runs, stops. Spawned calls outlive their caller. Retries: by the client for ``remote`` and
    ``map``, by the server for ``spawn`` and schedules. Time-outs, crashes (rescheduled; for ever when deployed),
    preemption (SIGINT, 10 s, the same call and input again), cancellation. A volume as of a container's start or last
    reload, writes visible on commit and at exit, lost when it is killed, reloads refused over open files. Secrets read
    at a container's start. ``restrict_modal_access``, tokens, GPU names, time limits, proxy authentication.
Not as on Modal
    Images are recorded, never built: containers use the project's interpreter and packages. GPU, CPU, memory, regions,
    ``block_network``, snapshots and ``min_containers`` are recorded only. Schedules run when fired. Dicts and queues
    have no time to live. Volumes v1 and v2 behave alike. No input plane, sandboxes, clusters, bucket mounts, shells,
    billing: RPCs that are not answered fail as UNIMPLEMENTED and are listed in the report.
"""

from .standin import TOKEN, FakeModal, Outcome

__all__ = ["TOKEN", "FakeModal", "Outcome"]
