"""An app with Litestar: its description is at /schema/openapi.json."""

from litestar import Litestar, get


@get("/shops/{shop:str}")
async def shop(shop: str) -> dict[str, str]:
    return {"shop": shop}


@get("/shops/{shop:str}/hours")
async def hours(shop: str) -> dict[str, str]:
    return {"shop": shop}


app = Litestar([shop, hours])
