"""The floor: an empty grpc.aio service with the daemon's messages, and nothing behind them.

Run as a process of its own (`python -m bench.floor SOCKET`), so that it is reached exactly as
the daemon is. It answers constants of the size of real answers.
"""

import asyncio
import sys
from pathlib import Path

import grpc.aio

from deviceplugin import rpc
from deviceplugin._generated import deviceplugin_v1beta1_pb2 as api

UUIDS = [f"GPU-00000000-0000-0000-0000-00000000000{i}" for i in range(4)]
PREFERRED = api.PreferredAllocationResponse(
    container_responses=[api.ContainerPreferredAllocationResponse(deviceIDs=UUIDS)]
)
ALLOCATED = api.AllocateResponse(
    container_responses=[
        api.ContainerAllocateResponse(envs={"NVIDIA_VISIBLE_DEVICES": ",".join(UUIDS[:2])})
    ]
)


async def _prefer(_request, _context):
    return PREFERRED


async def _allocate(_request, _context):
    return ALLOCATED


async def serve(socket: Path) -> None:
    server = grpc.aio.server()
    rpc.serve_plugin(
        server,
        {rpc.PREFER: rpc.PREFER.served(_prefer), rpc.ALLOCATE: rpc.ALLOCATE.served(_allocate)},
    )
    server.add_insecure_port(rpc.target(socket))
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
