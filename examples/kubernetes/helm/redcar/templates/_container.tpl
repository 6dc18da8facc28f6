{{/* Names of objects: two releases may stand in one namespace. */}}
{{- define "redcar.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* Whether objects of the Prometheus operator are wanted: "auto" asks the cluster. */}}
{{- define "redcar.operator" -}}
{{- $enabled := toString .enabled -}}
{{- if or (eq $enabled "true") (and (eq $enabled "auto") (.root.Capabilities.APIVersions.Has "monitoring.coreos.com/v1")) -}}
yes
{{- end -}}
{{- end }}

{{/* The image, as other templates need it, too. */}}
{{- define "redcar.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "redcar.args" -}}
{{- $ports := list (printf "--listen=:%v" .Values.listenPort) (printf "--metrics=:%v" .Values.metricsPort) -}}
{{- concat $ports (list (printf "--upstream=%s" .Values.upstream)) (include "redcar.further" . | fromJsonArray) | toJson -}}
{{- end }}

{{/* The flags that do not depend on the app: further ports, and whatever is given. */}}
{{- define "redcar.further" -}}
{{- $maps := list -}}
{{- range .Values.maps -}}
{{- $maps = append $maps (printf "--map=:%v=%s" .port .upstream) -}}
{{- end -}}
{{- $slos := list -}}
{{- range .Values.slos -}}
{{- $slos = append $slos (printf "--slo=%s" .) -}}
{{- end -}}
{{- concat $maps $slos .Values.extraArgs | default list | toJson -}}
{{- end }}

{{/*
The sidecar, an item of spec.initContainers. In a chart that depends on this one:

      initContainers:
        {{- include "redcar.container" .Subcharts.redcar | nindent 8 }}
*/}}
{{- define "redcar.container" -}}
- name: redcar
  image: {{ include "redcar.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  restartPolicy: Always
  args: {{ include "redcar.args" . }}
  {{- with .Values.env }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.envFrom }}
  envFrom:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  ports:
    - name: http-metered
      containerPort: {{ .Values.listenPort }}
      protocol: TCP
    - name: red-metrics
      containerPort: {{ .Values.metricsPort }}
      protocol: TCP
    {{- range .Values.maps }}
    - name: {{ .name }}
      containerPort: {{ .port }}
      protocol: TCP
    {{- end }}
    {{- with .Values.extraPorts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.startupProbe }}
  startupProbe:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.livenessProbe }}
  livenessProbe:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.readinessProbe }}
  readinessProbe:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  terminationMessagePolicy: FallbackToLogsOnError
  securityContext:
    {{- toYaml .Values.securityContext | nindent 4 }}
  {{- with .Values.volumeMounts }}
  volumeMounts:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* What the sidecar mounts, items of spec.volumes; nothing without `volumes`. */}}
{{- define "redcar.volumes" -}}
{{- with .Values.volumes }}
{{- toYaml . }}
{{- end }}
{{- end }}

{{- define "redcar.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: {{ .Values.nameOverride | default .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}
