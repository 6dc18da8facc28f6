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
    load,
    typecheck,
    validate_kubernetes,
)
from helpers import REPO, run, tool

FOLDER = EXAMPLES / "kubernetes"
CHART = FOLDER / "helm" / "redcar"
ALL = ("1.29.0", "1.30.0", "1.33.0", "1.34.0", "1.36.0", "1.37.0")
WITH_POLICY = ("1.36.0", "1.37.0")
OPERATOR = ("PodMonitor", "PrometheusRule")
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
    return template("--set", "injection.enabled=true,networkPolicy.enabled=true")


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
    faults += [v for v in pod.get("volumes", []) if not set(v) - {"name"} <= VOLUMES]
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
    assert len(upstreams) == 2 and len(rest) == 1
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
    assert only(objects, "Service")["spec"]["ports"][0]["targetPort"] == 7001
    hook = pod["containers"][0]["lifecycle"]["preStop"]["httpGet"]
    assert hook == {"path": "/wait-for-drain", "port": 9464}
    assert pod["terminationGracePeriodSeconds"] == 45


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
            "MutatingAdmissionPolicy",
            "MutatingAdmissionPolicyBinding",
            "NetworkPolicy",
            *OPERATOR,
        ]
    )
    known = [o for o in objects if o["kind"] not in OPERATOR]
    validate_kubernetes(yaml.safe_dump_all(known), tmp_path, WITH_POLICY)
    assert sorted(o["kind"] for o in template()) == sorted(["ConfigMap", *OPERATOR])


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
    moved = template("--set", "grafanaUrl=https://grafana.example.com")
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
    rendered = only(everything(), "MutatingAdmissionPolicy")
    return [only(load(FOLDER / "injection.yaml"), "MutatingAdmissionPolicy"), rendered]


def test_the_policys_expressions_are_cel():
    for policy in policies():
        mutation = policy["spec"]["mutations"][0]["applyConfiguration"]["expression"]
        celpy.Environment().compile(mutation)
        with pytest.raises(celpy.CELParseError):
            celpy.Environment().compile(mutation.removesuffix("}"))


def test_the_policy_adds_the_manifests_container():
    """The typed constructors are taken for plain objects; their types only an API server knows."""
    for policy in policies():
        text = policy["spec"]["mutations"][0]["applyConfiguration"]["expression"]
        text = re.sub(r"\bObject(\.\w+)*\{", "{", text)
        text = re.sub(r"([{,]\s*)(\w+):", r'\1"\2":', text)
        [container] = json.loads(text)["spec"]["initContainers"]
        assert container == the_sidecar()


def test_the_policys_types_follow_the_fields():
    """`Object.spec.initContainers.ports{` must stand where the field `ports` is set."""
    for policy in policies():
        text = policy["spec"]["mutations"][0]["applyConfiguration"]["expression"]
        for field, type_name in re.findall(r"(\w+): \[?\s*Object\.([\w.]+)\{", text):
            assert type_name.endswith(field), (field, type_name)


def test_the_policy_leaves_pods_alone_that_have_the_sidecar():
    for policy in policies():
        [condition] = policy["spec"]["matchConditions"]
        environment = celpy.Environment()
        program = environment.program(environment.compile(condition["expression"]))
        cases = [
            ({}, True),
            ({"initContainers": [{"name": "migrate"}]}, True),
            ({"initContainers": [{"name": "migrate"}, {"name": "redcar"}]}, False),
        ]
        for spec, expected in cases:
            assert bool(program.evaluate({"object": celpy.json_to_cel({"spec": spec})})) is expected
        assert policy["spec"]["failurePolicy"] == "Ignore"
