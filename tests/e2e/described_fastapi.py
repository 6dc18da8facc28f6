"""An app with FastAPI: its description is at /openapi.json."""

from fastapi import APIRouter, FastAPI

app = FastAPI()
shops = APIRouter(prefix="/shops")


@shops.get("/{shop}")
def shop(shop: str):
    return {"shop": shop}


@shops.get("/{shop}/hours")
def hours(shop: str):
    return {"shop": shop}


@app.get("/files/{path:path}")
def files(path: str):
    return {"path": path}


app.include_router(shops)
