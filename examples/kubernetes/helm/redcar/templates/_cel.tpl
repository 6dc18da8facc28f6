{{/*
A value as the CEL expression of an ApplyConfiguration: objects with the type of their place, such as
Object.spec.initContainers.ports{…}. Expects `path`, `value` and `indent`; fields in `raw` are
expressions already. `requests` and `limits` are maps, not objects.
*/}}
{{- define "redcar.cel" -}}
{{- $path := .path -}}
{{- $raw := .raw | default dict -}}
{{- $inner := add .indent 2 | int -}}
{{- if kindIs "map" .value -}}
{{ $path }}{
{{- $first := true -}}
{{- range $key, $item := .value -}}
{{- if not $first }},{{ end -}}
{{- $first = false -}}
{{- printf "\n%s%s: " (repeat $inner " ") $key -}}
{{- if hasKey $raw $key -}}
{{ get $raw $key }}
{{- else if has $key (list "requests" "limits" "matchLabels") -}}
{{ toJson $item }}
{{- else -}}
{{ include "redcar.cel" (dict "path" (printf "%s.%s" $path $key) "value" $item "indent" $inner) }}
{{- end -}}
{{- end -}}
}
{{- else if and (kindIs "slice" .value) .value (kindIs "map" (first .value)) -}}
[
{{- range $at, $item := .value -}}
{{- if $at }}, {{ end -}}
{{ include "redcar.cel" (dict "path" $path "value" $item "indent" $inner) }}
{{- end -}}
]
{{- else -}}
{{ toJson .value }}
{{- end -}}
{{- end }}
