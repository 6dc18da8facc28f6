"""The Kubernetes examples: by schemas of several versions, real kubectl and helm, our own rules.

No cluster is here: a kubelet's order of starts and stops, and the evaluation of the admission
policy by an API server, cannot be tested.
"""

import json
import re
import shutil

import celpy
import pytest
import yaml
from artefacts import (
    DASHBOARD,
    EXAMPLES,
    NODE_MODULES,
    TOOLS,
    catalogue,
    load,
    parse,
    typecheck,
    validate_kubernetes,
)
from helpers import REPO, run, tool

FOLDER = EXAMPLES / "kubernetes"
CHART = FOLDER / "helm" / "redcar"
ALL = ("1.29.0", "1.30.0", "1.33.0", "1.34.0", "1.36.0", "1.37.0")
WITH_POLICY = ("1.36.0", "1.37.0")
OPERATOR = ("PodMonitor", "PrometheusRule")
# How a cluster with the operator says so.
CRDS = "monitoring.coreos.com/v1"
# Volumes that the restricted Pod Security Standard allows.
VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def helm(*argv, **kwargs):
    return run([TOOLS / "helm", *argv], timeout=60, **kwargs)


def template(*flags, chart=CHART):
    answer = helm("template", "x", chart, "--namespace", "shop", "--kube-version", "1.36.0", *flags)
    assert answer.returncode == 0, answer.stderr
    return [o for o in yaml.safe_load_all(answer.stdout) if o]


def everything():
    flags = "injection.enabled=true,networkPolicy.enabled=true"
    return template("--set", flags, "--api-versions", CRDS)


def kustomize(folder):
    answer = run([TOOLS / "kubectl", "kustomize", folder], timeout=60)
    assert answer.returncode == 0, answer.stderr
    return [o for o in yaml.safe_load_all(answer.stdout) if o]


def only(objects, kind):
    found = [o for o in objects if o["kind"] == kind]
    assert len(found) == 1, (kind, [o["kind"] for o in objects])
    return found[0]


def sidecar_of(objects):
    pod = only(objects, "Deployment")["spec"]["template"]["spec"]
    return next(c for c in pod["initContainers"] if c["name"] == "redcar")


def the_sidecar():
    return sidecar_of(load(FOLDER / "sidecar.yaml"))


def umbrella(tmp_path):
    """A chart of somebody else, with ours as a dependency and its container in a Deployment."""
    chart = tmp_path / "shop"
    (chart / "templates").mkdir(parents=True)
    shutil.copytree(CHART, chart / "charts" / "redcar")
    (chart / "Chart.yaml").write_text(
        "apiVersion: v2\nname: shop\nversion: 1.0.0\n"
        "dependencies:\n  - {name: redcar, version: 0.1.0}\n"
    )
    deployment, _, _ = (FOLDER / "sidecar.yaml").read_text().partition("---\n")
    start = deployment.index("        # restartPolicy makes it")
    end = deployment.index("      containers:\n        - name: app")
    include = '        {{- include "redcar.container" .Subcharts.redcar | nindent 8 }}\n'
    (chart / "templates" / "app.yaml").write_text(deployment[:start] + include + deployment[end:])
    return chart


def restricted(pod):
    """What the restricted Pod Security Standard forbids, and this pod does."""
    faults = [key for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key)]
    faults += [v for v in pod.get("volumes") or [] if not set(v) - {"name"} <= VOLUMES]
    whole = pod.get("securityContext", {})
    for container in pod.get("initContainers", []) + pod["containers"]:
        own = container.get("securityContext", {})
        both = whole | own
        capabilities = own.get("capabilities", {})
        kept = {
            "privileged": own.get("privileged", False) is False,
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities": capabilities.get("drop") == ["ALL"]
            and set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
            "runAsNonRoot": both.get("runAsNonRoot") is True and both.get("runAsUser", 1) != 0,
            "seccompProfile": both.get("seccompProfile", {}).get("type")
            in ("RuntimeDefault", "Localhost"),
            "hostPort": not any(p.get("hostPort") for p in container.get("ports", [])),
        }
        faults += [f"{container['name']}: {rule}" for rule, held in kept.items() if not held]
    return faults


def pods(tmp_path):
    yield "sidecar.yaml", load(FOLDER / "sidecar.yaml")
    yield "kustomize", kustomize(FOLDER / "kustomize" / "example")
    yield "helm", template(chart=umbrella(tmp_path))


def test_the_manifest_is_valid_in_every_supported_version(tmp_path):
    validate_kubernetes(FOLDER / "sidecar.yaml", tmp_path, ALL)


def test_the_admission_policy_is_valid_since_1_36(tmp_path):
    validate_kubernetes(FOLDER / "injection.yaml", tmp_path, WITH_POLICY)
    with pytest.raises(AssertionError, match="WARN"):
        validate_kubernetes(FOLDER / "injection.yaml", tmp_path, ("1.34.0",))


def test_the_validator_would_notice_a_wrong_key(tmp_path):
    text = (FOLDER / "sidecar.yaml").read_text().replace("failureThreshold", "failureTreshold")
    with pytest.raises(AssertionError, match="failureTreshold"):
        validate_kubernetes(text, tmp_path, ("1.36.0",))


def test_every_pod_is_restricted(tmp_path):
    for name, objects in pods(tmp_path):
        pod = only(objects, "Deployment")["spec"]["template"]["spec"]
        assert restricted(pod) == [], name


def test_the_restricted_test_finds_faults():
    pod = only(load(FOLDER / "sidecar.yaml"), "Deployment")["spec"]["template"]["spec"]
    del pod["initContainers"][0]["securityContext"]["capabilities"]
    pod["containers"][0]["securityContext"]["runAsUser"] = 0
    pod["hostNetwork"] = True
    assert restricted(pod) == ["hostNetwork", "redcar: capabilities", "app: runAsNonRoot"]


def test_it_is_a_native_sidecar_that_starts_without_the_app():
    sidecar = the_sidecar()
    assert sidecar["restartPolicy"] == "Always"
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        request = sidecar[probe]["httpGet"]
        assert request["port"] == "red-metrics" and "upstream" not in request["path"]
    assert all(len(p["name"]) <= 15 for p in sidecar["ports"])
    assert "cpu" not in sidecar["resources"]["limits"]


def test_the_program_takes_the_flags_of_the_manifests(proxy):
    """The same flags, on free ports; an unknown or misspelt one ends the program with 2."""
    args = (
        the_sidecar()["args"]
        + load(EXAMPLES / "compose" / "compose.yaml")[0]["services"]["sidecar"]["command"]
    )
    rest = [a for a in args if not re.match(r"--(listen|metrics|upstream)=", a)]
    upstreams = [a.partition("=")[2] for a in args if a.startswith("--upstream=")]
    assert len(upstreams) == 2 and len(rest) == 2
    proxy(upstreams[0], *rest)
    for argument in args:
        assert re.fullmatch(r"--[a-z-]+=\S+", argument)


def test_ports_and_paths_of_all_manifests_agree():
    objects = load(FOLDER / "sidecar.yaml")
    args = dict(a.removeprefix("--").split("=") for a in the_sidecar()["args"])
    listen, metrics = int(args["listen"][1:]), int(args["metrics"][1:])
    assert [p["containerPort"] for p in the_sidecar()["ports"]] == [listen, metrics]
    # Numbers, not names: names of native sidecars did not resolve before 1.32.
    assert only(objects, "Service")["spec"]["ports"][0]["targetPort"] == listen
    policy = only(objects, "NetworkPolicy")["spec"]["ingress"]
    assert [rule["ports"][0]["port"] for rule in policy] == [listen, metrics]
    app = only(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert args["upstream"] == f"http://127.0.0.1:{app['ports'][0]['containerPort']}"
    assert app["lifecycle"]["preStop"]["httpGet"] == {"path": "/wait-for-drain", "port": metrics}
    monitor = load(FOLDER / "podmonitor.yaml")[0]["spec"]["podMetricsEndpoints"][0]
    assert monitor["port"] == the_sidecar()["ports"][1]["name"]


def test_kustomize_adds_the_sidecar_to_a_deployment_that_exists(tmp_path):
    objects = kustomize(FOLDER / "kustomize" / "example")
    validate_kubernetes(yaml.safe_dump_all(objects), tmp_path, ALL)
    assert sidecar_of(objects) == the_sidecar()
    pod = only(objects, "Deployment")["spec"]["template"]["spec"]
    # Before the app's own init containers, so that these may use it.
    assert [c["name"] for c in pod["initContainers"]] == ["redcar", "migrate"]
    # By name: Kustomize keeps the type of what it replaces.
    assert only(objects, "Service")["spec"]["ports"][0]["targetPort"] == "http-metered"
    assert "http-metered" in [p["name"] for p in sidecar_of(objects)["ports"]]
    hook = pod["containers"][0]["lifecycle"]["preStop"]["httpGet"]
    assert hook == {"path": "/wait-for-drain", "port": 9464}
    assert pod["terminationGracePeriodSeconds"] == 45


def test_kustomize_takes_another_port_of_the_app(tmp_path):
    shutil.copytree(FOLDER / "kustomize", tmp_path / "kustomize")
    settings = tmp_path / "kustomize" / "component" / "settings.yaml"
    settings.write_text(settings.read_text().replace("8000", "5000"))
    sidecar = sidecar_of(kustomize(tmp_path / "kustomize" / "example"))
    assert sidecar["args"][2] == "--upstream=http://127.0.0.1:5000"


def test_kustomize_leaves_others_alone(tmp_path):
    shutil.copytree(FOLDER / "kustomize", tmp_path / "kustomize")
    app = tmp_path / "kustomize" / "example" / "app.yaml"
    app.write_text(app.read_text().replace("redcar/inject: enabled", "other: label"))
    objects = kustomize(tmp_path / "kustomize" / "example")
    pod = only(objects, "Deployment")["spec"]["template"]["spec"]
    assert [c["name"] for c in pod["initContainers"]] == ["migrate"]


def test_kustomize_chooses_the_image(tmp_path):
    shutil.copytree(FOLDER / "kustomize", tmp_path / "kustomize")
    file = tmp_path / "kustomize" / "example" / "kustomization.yaml"
    file.write_text(
        file.read_text().replace(
            "newTag: 0.1.0", "newName: mirror.example.com/redcar\n    newTag: 9.9.9"
        )
    )
    assert sidecar_of(kustomize(file.parent))["image"] == "mirror.example.com/redcar:9.9.9"


def test_helm_lints_without_a_warning():
    answer = helm("lint", "--strict", CHART)
    assert answer.returncode == 0 and "WARNING" not in answer.stdout, answer.stdout + answer.stderr


def test_what_helm_renders_is_valid(tmp_path):
    objects = everything()
    kinds = sorted(o["kind"] for o in objects)
    assert kinds == sorted(
        [
            "ConfigMap",
            *("MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding") * 2,
            "NetworkPolicy",
            *OPERATOR,
        ]
    )
    known = [o for o in objects if o["kind"] not in OPERATOR]
    validate_kubernetes(yaml.safe_dump_all(known), tmp_path, WITH_POLICY)
    assert [o["kind"] for o in template()] == ["ConfigMap"]


def test_the_charts_container_is_the_manifests(tmp_path):
    objects = template(chart=umbrella(tmp_path))
    validate_kubernetes(yaml.safe_dump(only(objects, "Deployment")), tmp_path, ALL)
    rendered = sidecar_of(objects)
    assert rendered.pop("imagePullPolicy") == "IfNotPresent"
    assert rendered == the_sidecar()


def test_the_chart_refuses_values_that_cannot_be_meant():
    for wrong in (
        "listenPort=http",
        "podMonitor.intervall=5s",
        "image.pullPolicy=always",
        "upstream=/run/app.sock",
    ):
        answer = helm("template", "x", CHART, "--set", wrong)
        assert answer.returncode != 0 and "values don't meet" in answer.stderr, (
            wrong,
            answer.stderr,
        )


def test_the_chart_carries_the_rules_and_the_dashboard():
    objects = everything()
    from_files = [
        g
        for name in ("recording", "alerts")
        for g in load(EXAMPLES / "prometheus" / f"{name}.rules.yml")[0]["groups"]
    ]
    assert only(objects, "PrometheusRule")["spec"]["groups"] == from_files
    config = only(objects, "ConfigMap")
    assert json.loads(config["data"]["redcar.json"]) == json.loads(DASHBOARD.read_text())
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    moved = template("--set", "grafanaUrl=https://grafana.example.com", "--api-versions", CRDS)
    rules = json.dumps(only(moved, "PrometheusRule"))
    assert "https://grafana.example.com/d/redcar" in rules and "localhost" not in rules


def test_promtool_accepts_the_rules_of_the_chart(tmp_path):
    file = tmp_path / "rules.yml"
    file.write_text(
        yaml.safe_dump({"groups": only(everything(), "PrometheusRule")["spec"]["groups"]})
    )
    answer = run([tool("promtool"), "check", "rules", file])
    assert answer.returncode == 0, answer.stdout + answer.stderr


def operator_objects():
    return load(FOLDER / "podmonitor.yaml") + [o for o in everything() if o["kind"] in OPERATOR]


def test_the_operators_models_accept_the_monitor_and_the_rules():
    script = REPO / "tests" / "e2e" / "types" / "operator.mjs"
    answer = run(["node", script, NODE_MODULES], input_text=json.dumps(operator_objects()))
    assert answer.returncode == 0, answer.stderr
    broken = operator_objects()
    broken[0]["spec"]["podMetricsEndpoints"][0]["interval"] = "15 seconds"
    answer = run(["node", script, NODE_MODULES], input_text=json.dumps(broken))
    assert answer.returncode == 1 and "interval must match" in answer.stderr


def test_the_operators_types_know_every_key(tmp_path):
    def check(objects):
        package = "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1"
        lines = [f'import type {{ IPodMonitor, IPrometheusRule }} from "{package}";']
        lines += [
            f"export const o{n}: I{o['kind']} = {json.dumps(o)};" for n, o in enumerate(objects)
        ]
        return typecheck("\n".join(lines), tmp_path)

    answer = check(operator_objects())
    assert answer.returncode == 0, answer.stdout
    broken = operator_objects()
    broken[0]["spec"]["podMetricsEndpoints"][0]["intervall"] = "15s"
    assert "intervall" in check(broken).stdout


def test_a_scrape_ends_before_the_next_begins():
    for o in operator_objects():
        for endpoint in o["spec"].get("podMetricsEndpoints", []):
            assert int(endpoint["scrapeTimeout"][:-1]) <= int(endpoint["interval"][:-1])


def policies():
    """[(policy for pods, policy for Services)] of the example and of the chart."""
    for objects in (load(FOLDER / "injection.yaml"), everything()):
        yield [o for o in objects if o["kind"] == "MutatingAdmissionPolicy"]


def without_labels(objects):
    for o in objects:
        o["metadata"].pop("labels", None)
    return objects


def test_the_example_of_injection_is_what_the_chart_renders():
    argv = ["template", "redcar", CHART, "--namespace", "monitoring", "--kube-version", "1.36.0"]
    flags = ["--set", "injection.enabled=true", "--show-only", "templates/injection.yaml"]
    rendered = [o for o in yaml.safe_load_all(helm(*argv, *flags).stdout) if o]
    assert without_labels(rendered) == without_labels(load(FOLDER / "injection.yaml"))


def split(text, separator):
    """The API server's library of strings has it; celpy has not."""
    parts = text.split(separator)
    return celpy.celtypes.ListType([celpy.celtypes.StringType(part) for part in parts])


class Policy:
    """Evaluates a policy as an API server does: conditions, variables, then the mutation.

    The typed constructors are taken for plain maps; their types only an API server knows.
    """

    def __init__(self, policy):
        self.spec = policy["spec"]
        assert self.spec["failurePolicy"] == "Ignore"

    def evaluate(self, expression, **names):
        text = re.sub(r"\bObject(\.\w+)*\{", "{", expression)
        text = re.sub(r"([{,]\s*)(\w+):(?= )", r'\1"\2":', text)
        environment = celpy.Environment()
        program = environment.program(environment.compile(text), functions={"split": split})
        return program.evaluate(names)

    def __call__(self, object):
        """What is merged into the object; None where a condition keeps the policy away."""
        names = {"object": celpy.json_to_cel(object)}
        for condition in self.spec["matchConditions"]:
            if not self.evaluate(condition["expression"], **names):
                return None
        variables = celpy.celtypes.MapType()
        for variable in self.spec["variables"]:
            value = self.evaluate(variable["expression"], variables=variables, **names)
            variables[celpy.celtypes.StringType(variable["name"])] = value
        [mutation] = self.spec["mutations"]
        result = self.evaluate(
            mutation["applyConfiguration"]["expression"], variables=variables, **names
        )
        return json.loads(json.dumps(result, cls=celpy.CELJSONEncoder))


def pod(*containers, annotations=None, **spec):
    metadata = {"name": "shop"} | ({"annotations": annotations} if annotations else {})
    return {"metadata": metadata, "spec": {"containers": list(containers)} | spec}


def container(name, *ports):
    named = [{"containerPort": p, "protocol": "TCP"} for p in ports]
    return {"name": name, "image": "x"} | ({"ports": named} if named else {})


@pytest.mark.parametrize(
    ("shape", "upstream"),
    [
        (pod(container("app", 5000)), 5000),
        (pod(container("app")), 8000),
        (pod(container("app", 3000, 9000)), 3000),
        (pod(container("log"), container("app", 8080)), 8080),
        (pod(container("app", 80), annotations={"redcar/upstream-port": "8081"}), 8081),
        (pod(container("app", 80), annotations={"other": "x"}), 80),
        (pod(container("app", 80), initContainers=[container("migrate", 1)]), 80),
        (pod(container("job", 80), restartPolicy="Never"), 80),
        (pod(container("app", 80), hostNetwork=True), None),
        (pod(container("app", 80), hostNetwork=False), 80),
        (pod(container("app", 7001)), None),
        (pod(container("app", 80), annotations={"redcar/upstream-port": "http"}), None),
        (pod(container("app", 80), initContainers=[container("redcar", 7001)]), None),
    ],
)
def test_a_pod_gets_the_manifests_sidecar_before_its_own_port(shape, upstream):
    for for_pods, _ in policies():
        merged = Policy(for_pods)(shape)
        if upstream is None:
            assert merged is None
            continue
        [injected] = merged["spec"]["initContainers"]
        assert injected.pop("imagePullPolicy") == "IfNotPresent"
        expected = the_sidecar()
        expected["args"][2] = f"--upstream=http://127.0.0.1:{upstream}"
        assert injected == expected


def test_a_pod_may_ask_for_further_flags():
    flags = {"redcar/flags": "--route=/users/{id}  --max-paths=9"}
    for for_pods, _ in policies():
        [injected] = Policy(for_pods)(pod(container("app", 80), annotations=flags))["spec"][
            "initContainers"
        ]
        assert injected["args"][3:] == ["--route=/users/{id}", "--max-paths=9"]


def test_a_pod_may_ask_for_further_ports():
    asked = {"redcar/map": "7002=9000 7003=9001", "redcar/flags": "--via"}
    for for_pods, _ in policies():
        shape = pod(container("app", 80, 9000), annotations=asked)
        [injected] = Policy(for_pods)(shape)["spec"]["initContainers"]
        assert injected["args"][3:] == [
            "--map=:7002=http://127.0.0.1:9000",
            "--map=:7003=http://127.0.0.1:9001",
            "--via",
        ]
        for wrong in ("grpc=9000", "7002", "7002=9000,7003=9001", ""):
            shape["metadata"]["annotations"] = {"redcar/map": wrong}
            assert Policy(for_pods)(shape) is None, wrong


def service(*ports, annotations=None):
    metadata = {"name": "shop"} | ({"annotations": annotations} if annotations else {})
    named = [
        {"port": port, "protocol": protocol, "targetPort": target}
        | ({"name": name} if name else {})
        for name, port, protocol, target in ports
    ]
    return {"metadata": metadata, "spec": {"ports": named}}


@pytest.mark.parametrize(
    ("shape", "turned"),
    [
        (service((None, 80, "TCP", 8000)), [80]),
        (service(("web", 80, "TCP", "web")), [80]),
        (service(("http", 80, "TCP", "http"), ("grpc", 90, "TCP", 9000)), [80]),
        (service(("web", 80, "TCP", 1), ("grpc", 90, "TCP", 2)), []),
        (
            service(
                ("web", 80, "TCP", 1),
                ("grpc", 90, "TCP", 2),
                annotations={"redcar/service-port": "grpc"},
            ),
            [90],
        ),
        (service(("dns", 53, "UDP", 53)), []),
    ],
)
def test_a_service_leads_to_the_sidecar(shape, turned):
    for _, for_services in policies():
        merged = Policy(for_services)(shape)["spec"]["ports"]
        assert merged == [{"port": p, "protocol": "TCP", "targetPort": 7001} for p in turned]


def test_ports_of_a_service_lead_to_further_ports_of_the_sidecar():
    shape = service(
        ("http", 80, "TCP", 8000),
        ("grpc", 90, "TCP", 9000),
        ("other", 91, "TCP", 9001),
        annotations={"redcar/service-map": "grpc=7002 none=7003 broken"},
    )
    for _, for_services in policies():
        merged = Policy(for_services)(shape)["spec"]["ports"]
        assert [(p["port"], p["targetPort"]) for p in merged] == [(80, 7001), (90, 7002)]


def test_what_the_policy_gives_is_a_valid_pod(tmp_path):
    """Merged as server-side apply merges lists of containers: by name."""
    whole = load(FOLDER / "sidecar.yaml")
    template = only(whole, "Deployment")["spec"]["template"]
    template["spec"]["initContainers"] = []
    for for_pods, _ in policies():
        [injected] = Policy(for_pods)(template)["spec"]["initContainers"]
        template["spec"]["initContainers"] = [injected]
        validate_kubernetes(yaml.safe_dump(only(whole, "Deployment")), tmp_path, WITH_POLICY)
        assert restricted(template["spec"]) == []
        template["spec"]["initContainers"] = []


def test_the_policys_types_follow_the_fields():
    """`Object.spec.initContainers.ports{` must stand where the field `ports` is set."""
    for pair in policies():
        for policy in pair:
            text = policy["spec"]["mutations"][0]["applyConfiguration"]["expression"]
            for field, type_name in re.findall(r"(\w+): \[?\s*Object\.([\w.]+)\{", text):
                assert type_name.endswith(field), (field, type_name)


SHAPES = {
    "plain": "redcar: {}",
    "tls": """
redcar:
  extraArgs: [--tls-cert=/tls/tls.crt, --tls-key=/tls/tls.key]
  volumes: [{name: tls, secret: {secretName: shop-tls}}]
  volumeMounts: [{name: tls, mountPath: /tls, readOnly: true}]
""",
    "openapi": """
redcar:
  upstream: http://127.0.0.1:8080
  slos: ["path=/checkout/**,latency=300ms,objective=99.9"]
  extraArgs: [--openapi=/openapi/openapi.json]
  volumes: [{name: openapi, configMap: {name: shop-openapi}}]
  volumeMounts: [{name: openapi, mountPath: /openapi}]
""",
    "socket": """
redcar:
  upstream: unix:/run/app/app.sock
  env: [{name: REDCAR_MAX_PATHS, value: "1000"}]
  volumes: [{name: run, emptyDir: {}}]
  volumeMounts: [{name: run, mountPath: /run/app}]
""",
    "two ports": """
redcar:
  maps: [{name: grpc-metered, port: 7002, upstream: "http://127.0.0.1:9000"}]
""",
    "own": """
redcar:
  listenPort: 8443
  metricsPort: 9100
  startupProbe: null
  readinessProbe: {httpGet: {path: "/readyz?upstream=1", port: red-metrics}, periodSeconds: 2}
  resources: {limits: {memory: 512Mi}}
  securityContext: {allowPrivilegeEscalation: false, runAsNonRoot: true, runAsUser: 10001,
    capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}
  extraPorts: [{name: grpc-metered, containerPort: 8444, protocol: TCP}]
""",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_chart_fits_apps_of_several_shapes(shape, tmp_path):
    chart = umbrella(tmp_path)
    app = chart / "templates" / "app.yaml"
    volumes = (
        '      volumes:\n        {{- include "redcar.volumes" .Subcharts.redcar | nindent 8 }}\n'
    )
    app.write_text(app.read_text().rstrip("\n") + "\n" + volumes)
    (tmp_path / "values.yaml").write_text(SHAPES[shape])
    objects = template("--values", tmp_path / "values.yaml", chart=chart)
    deployment = only(objects, "Deployment")
    validate_kubernetes(yaml.safe_dump(deployment), tmp_path, ALL)
    spec = deployment["spec"]["template"]["spec"]
    assert restricted(spec) == []
    sidecar = sidecar_of(objects)
    mounted = {m["name"] for m in sidecar.get("volumeMounts", [])}
    assert mounted == {v["name"] for v in spec.get("volumes") or []}
    values = yaml.safe_load(SHAPES[shape])["redcar"]
    maps = [f"--map=:{m['port']}={m['upstream']}" for m in values.get("maps", [])]
    slos = [f"--slo={slo}" for slo in values.get("slos", [])]
    assert sidecar["args"][3:] == maps + slos + values.get("extraArgs", [])
    ports = {p["containerPort"] for p in sidecar["ports"]}
    assert ports >= {m["port"] for m in values.get("maps", [])}
    assert sidecar.get("env", []) == values.get("env", [])
    assert ("startupProbe" in sidecar) == ("startupProbe" not in values)


def test_injection_carries_what_the_values_say(tmp_path):
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(yaml.safe_load(SHAPES["tls"])["redcar"]))
    objects = template("--values", values, "--set", "injection.enabled=true")
    [for_pods, _] = [o for o in objects if o["kind"] == "MutatingAdmissionPolicy"]
    spec = Policy(for_pods)(pod(container("app", 80)))["spec"]
    assert spec["volumes"] == [{"name": "tls", "secret": {"secretName": "shop-tls"}}]
    [injected] = spec["initContainers"]
    assert injected["volumeMounts"][0]["mountPath"] == "/tls"
    assert injected["args"][3:] == ["--tls-cert=/tls/tls.crt", "--tls-key=/tls/tls.key"]


def names(objects):
    return {(o["kind"], o["metadata"]["name"]) for o in objects}


def test_two_releases_stand_in_one_namespace():
    flags = ["--set", "injection.enabled=true,networkPolicy.enabled=true", "--api-versions", CRDS]
    one, two = (
        names(yaml.safe_load_all(helm("template", name, CHART, *flags).stdout))
        for name in ("redcar", "other")
    )
    assert len(one) == len(two) > 6 and not one & two
    renamed = names(template("--set", "fullnameOverride=metrics", *flags[2:]))
    assert ("PodMonitor", "metrics") in renamed


def test_kinds_of_the_operator_are_made_where_the_cluster_has_them():
    kinds = lambda *flags: {o["kind"] for o in template(*flags)}  # noqa: E731
    assert not kinds() & set(OPERATOR)
    assert kinds("--api-versions", CRDS) >= set(OPERATOR)
    assert kinds("--set", "podMonitor.enabled=true") & set(OPERATOR) == {"PodMonitor"}
    off = kinds("--api-versions", CRDS, "--set", "prometheusRule.enabled=false")
    assert off & set(OPERATOR) == {"PodMonitor"}


def test_every_object_of_the_chart_says_where_it_is_from():
    version = load(CHART / "Chart.yaml")[0]["version"]
    for o in everything():
        assert o["metadata"]["labels"]["helm.sh/chart"] == f"redcar-{version}", o["kind"]


def test_the_network_policy_lets_prometheus_peers_and_probes_in():
    probes = "networkPolicy.enabled=true,networkPolicy.probes[0].ipBlock.cidr=10.0.0.0/16"
    [policy] = [o for o in template("--set", probes) if o["kind"] == "NetworkPolicy"]
    [data, metrics] = policy["spec"]["ingress"]
    assert "from" not in data and data["ports"] == [{"protocol": "TCP", "port": 7001}]
    sources = metrics["from"]
    assert [sorted(s) for s in sources] == [
        ["namespaceSelector", "podSelector"],
        ["podSelector"],
        ["ipBlock"],
    ]


def test_the_autoscalers_are_valid_and_ask_for_a_metric_that_there_is(tmp_path):
    folder = FOLDER / "autoscaling"
    validate_kubernetes(folder / "hpa.yaml", tmp_path, ALL)
    [hpa], [keda], [adapter] = (load(folder / f"{n}.yaml") for n in ("hpa", "keda", "adapter"))
    gauge = hpa["spec"]["metrics"][0]["pods"]["metric"]["name"]
    assert catalogue()[gauge] == "gauge"
    query = keda["spec"]["triggers"][0]["metadata"]["query"]
    assert parse([query]) == [[gauge]]
    [rule] = adapter["rules"]["custom"]
    assert gauge in rule["seriesQuery"] and gauge in rule["name"]["matches"]
    # What the adapter makes of its template for a pod.
    query = rule["metricsQuery"].replace("<<.GroupBy>>", "pod").replace("<<.Series>>", gauge)
    assert parse([query.replace("<<.LabelMatchers>>", 'pod="x"')]) == [[gauge]]
    assert keda["spec"]["scaleTargetRef"]["name"] == hpa["spec"]["scaleTargetRef"]["name"]
