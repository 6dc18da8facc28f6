"""An app with flask-smorest: its description is where the app says, here at /openapi.json."""

from flask import Flask
from flask_smorest import Api, Blueprint

app = Flask(__name__)
app.config |= {
    "API_TITLE": "shops",
    "API_VERSION": "1",
    "OPENAPI_VERSION": "3.0.3",
    "OPENAPI_URL_PREFIX": "/",
}
shops = Blueprint("shops", __name__, url_prefix="/shops")


@shops.route("/<shop>")
@shops.response(200)
def shop(shop):
    return {"shop": shop}


@shops.route("/<shop>/hours")
@shops.response(200)
def hours(shop):
    return {"shop": shop}


@app.get("/ruok")
def ruok():
    return "imok"


Api(app).register_blueprint(shops)
