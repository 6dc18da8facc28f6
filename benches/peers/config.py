"""Configuration texts of the proxies and of the backend."""

import os

# Bounds of redcar's histograms by default, for the rival in Lua.
BUCKETS = "0.001,0.0025,0.005,0.0075,0.01,0.025,0.05,0.075,0.1,0.25,0.5,0.75,1,2.5,5,10,30,60"

NGINX = """
worker_processes {threads}; daemon off; pid {directory}/{name}.pid;
error_log {directory}/{name}.err error; {user}
events {{ worker_connections 30000; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 600s; sendfile on;
  open_file_cache max=100 inactive=600s; client_max_body_size 0;
  client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};
  uwsgi_temp_path {directory}; scgi_temp_path {directory};
  {body}
}}
"""

# /check answers with what it was asked, so that an answer proves that it came from here.
# /upload reads the whole body before it answers, which `return` alone would not wait for.
# /series answers with the status of its argument, to make many series.
BACKEND = """
server {{
  listen 127.0.0.1:{port} backlog=4096; listen 127.0.0.1:{h2} backlog=4096 http2;
  root {www}; default_type text/plain;
  location = / {{ return 200 'hello'; }}
  location = /check {{ return 200 $arg_nonce; }}
  location = /upload {{
    client_body_buffer_size 2m; proxy_pass http://127.0.0.1:{port}/; proxy_pass_request_body off;
    proxy_set_header Content-Length ""; proxy_method GET;
  }}
  location /series/ {{ {statuses} return 200; }}
}}
"""

NGINX_HTTP1 = """
upstream b {{ server 127.0.0.1:{backend}; keepalive 256; keepalive_requests 100000000;
  keepalive_timeout 600s; }}
server {{ listen 127.0.0.1:{port} backlog=4096; {log}
  location / {{ proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection '';
    proxy_max_temp_file_size 0; proxy_request_buffering off;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }}
"""

NGINX_H2 = """
upstream b {{ server 127.0.0.1:{backend}; keepalive 256; keepalive_requests 100000000;
  keepalive_timeout 600s; }}
server {{ listen 127.0.0.1:{port} backlog=4096 http2; {log}
  location / {{ grpc_pass grpc://b;
    grpc_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }}
"""

LUA_MODULES = """
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
"""

# A table of the worker, without locks: the cheapest way there is.
LUA_HTTP = (
    """
  init_by_lua_block {{
    series, bounds = {{}}, {{"""
    + BUCKETS
    + """}}
    function observe()
      local key = ngx.var.request_method .. " " .. ngx.var.uri .. " " .. ngx.var.status
      local one = series[key]
      if not one then
        one = {{count = 0, sum = 0}}
        for index = 1, #bounds do one[index] = 0 end
        series[key] = one
      end
      local seconds = tonumber(ngx.var.request_time)
      one.count, one.sum = one.count + 1, one.sum + seconds
      for index = 1, #bounds do
        if seconds <= bounds[index] then one[index] = one[index] + 1; break end
      end
    end
    function page()
      for key, one in pairs(series) do
        local method, path, status = key:match("^(%S+) (%S+) (%S+)$")
        local labels = 'method="' .. method .. '",path="' .. path .. '",status="' .. status .. '"'
        local total = 0
        for index = 1, #bounds do
          total = total + one[index]
          ngx.print('http_request_duration_seconds_bucket{{', labels, ',le="', bounds[index],
            '"}} ', total, '\\n')
        end
        ngx.print('http_request_duration_seconds_bucket{{', labels, ',le="+Inf"}} ', one.count,
          '\\nhttp_request_duration_seconds_sum{{', labels, '}} ', one.sum,
          '\\nhttp_request_duration_seconds_count{{', labels, '}} ', one.count,
          '\\nhttp_requests_total{{', labels, '}} ', one.count, '\\n')
      end
    end
  }}
  server {{ listen 127.0.0.1:{metrics};
    location = /metrics {{ content_by_lua_block {{ page() }} }} }}
"""
)

LUA_LOG = "log_by_lua_block { observe() }"

HAPROXY = """
global
  nbthread {threads}
  maxconn 12000
  no strict-limits
defaults
  mode http
  timeout connect 3s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
  http-reuse always
frontend metrics
  bind 127.0.0.1:{metrics}
  http-request use-service prometheus-exporter if {{ path /metrics }}
frontend f
  bind 127.0.0.1:{port} {proto}
  option forwardfor
  default_backend b
backend b
  server s 127.0.0.1:{backend} {proto}
"""


def nginx(directory, name, body, threads=1):
    """A whole configuration of nginx around a body. As root its workers would change users and
    lose the files of the benchmark."""
    user = "user root;" if os.geteuid() == 0 else ""
    return NGINX.format(directory=directory, name=name, body=body, threads=threads, user=user)


def backend(directory, port, h2):
    """The configuration of the backend."""
    statuses = " ".join(
        f"if ($arg_status = {status}) {{ return {status}; }}" for status in SERIES_STATUSES
    )
    body = BACKEND.format(port=port, h2=h2, www=directory / "www", statuses=statuses)
    return nginx(directory, "backend", body)


SERIES_STATUSES = [200, 201, 202, 400, 401, 403, 404, 409, 500, 503]


def address(port):
    """An address as Envoy writes it."""
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def envoy(port, admin, backend_port, h2):
    """A static bootstrap of Envoy."""
    kind = "type.googleapis.com/envoy.extensions."
    manager = {
        "@type": kind + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "codec_type": "AUTO",
        "use_remote_address": True,
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {"match": {"prefix": "/"}, "route": {"cluster": "b", "timeout": "0s"}}
                    ],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": kind + "filters.http.router.v3.Router"},
            }
        ],
    }
    limits = {
        "priority": "DEFAULT",
        "max_connections": 20000,
        "max_pending_requests": 20000,
        "max_requests": 20000,
    }
    protocol = "http2_protocol_options" if h2 else "http_protocol_options"
    options = {
        "@type": kind + "upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {protocol: {}},
    }
    cluster = {
        "name": "b",
        "type": "STATIC",
        "connect_timeout": "3s",
        "circuit_breakers": {"thresholds": [limits]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options
        },
        "load_assignment": {
            "cluster_name": "b",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(backend_port)}}]}],
        },
    }
    listener = {
        "name": "in",
        "address": address(port),
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager,
                    }
                ]
            }
        ],
    }
    return {
        "admin": {"address": address(admin)},
        "static_resources": {"listeners": [listener], "clusters": [cluster]},
    }


def caddy(port, backend_port, h2):
    """Caddy's own JSON."""
    transport = {"protocol": "http", "keep_alive": {"max_idle_conns_per_host": 256}}
    if h2:
        transport["versions"] = ["h2c"]
    proxy = {
        "handler": "reverse_proxy",
        "transport": transport,
        "upstreams": [{"dial": f"127.0.0.1:{backend_port}"}],
    }
    server = {
        "listen": [f"127.0.0.1:{port}"],
        "automatic_https": {"disable": True},
        "protocols": ["h1", "h2c"] if h2 else ["h1"],
        "routes": [{"handle": [proxy]}],
    }
    return {
        "admin": {"disabled": True},
        "logging": {"logs": {"default": {"level": "ERROR"}}},
        "apps": {"http": {"metrics": {"per_host": True}, "servers": {"s": server}}},
    }


def traefik(backend_port, h2):
    """Routes for the file provider of Traefik; JSON is YAML."""
    scheme = "h2c" if h2 else "http"
    servers = [{"url": f"{scheme}://127.0.0.1:{backend_port}"}]
    return {
        "http": {
            "routers": {"all": {"rule": "PathPrefix(`/`)", "service": "b", "entryPoints": ["web"]}},
            "services": {"b": {"loadBalancer": {"servers": servers}}},
        }
    }
