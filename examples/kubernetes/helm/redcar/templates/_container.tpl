{{/* The image, as other templates need it, too. */}}
{{- define "redcar.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "redcar.args" -}}
{{- $ports := list (printf "--listen=:%v" .Values.listenPort) (printf "--metrics=:%v" .Values.metricsPort) -}}
{{- concat $ports (list (printf "--upstream=%s" .Values.upstream)) .Values.extraArgs | toJson -}}
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
  ports:
    - name: http-metered
      containerPort: {{ .Values.listenPort }}
      protocol: TCP
    - name: red-metrics
      containerPort: {{ .Values.metricsPort }}
      protocol: TCP
  startupProbe:
    httpGet:
      path: /livez
      port: red-metrics
    periodSeconds: 1
    failureThreshold: 30
  livenessProbe:
    httpGet:
      path: /livez
      port: red-metrics
    periodSeconds: 10
  readinessProbe:
    httpGet:
      path: /readyz
      port: red-metrics
    periodSeconds: 5
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  terminationMessagePolicy: FallbackToLogsOnError
  securityContext:
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    capabilities:
      drop: [ALL]
    seccompProfile:
      type: RuntimeDefault
{{- end }}

{{- define "redcar.labels" -}}
app.kubernetes.io/name: redcar
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}
