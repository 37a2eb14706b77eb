"""The floor of a start: an interpreter that imports grpc.aio and registers, nothing more."""

import asyncio
import sys
from pathlib import Path

from deviceplugin import rpc
from deviceplugin._generated import deviceplugin_v1beta1_pb2 as api


async def register(socket: Path) -> None:
    async with rpc.open_channel(socket) as channel:
        await rpc.REGISTER.on(channel)(
            api.RegisterRequest(
                version="v1beta1", endpoint="floor.sock", resource_name="example.com/floor"
            )
        )


if __name__ == "__main__":
    asyncio.run(register(Path(sys.argv[1])))
