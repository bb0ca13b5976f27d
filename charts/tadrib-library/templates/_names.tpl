{{/* SPDX-License-Identifier: Apache-2.0 */}}
{{/* Names and labels. Every template of this library takes one dict: root (the chart's $), platform, name (of the
     object that KubeRay owns), run and method (empty for a shared cluster), labels and annotations of queues. */}}

{{- define "tadrib.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{ include "tadrib.selector" . }}
{{- with .run }}
tadrib/run: {{ . | quote }}
{{- end }}
{{- with .method }}
tadrib/method: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* The labels by which a network policy or monitor selects the pods of one object. */}}
{{- define "tadrib.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/part-of: tadrib
{{- with .name }}
tadrib/object: {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "tadrib.image" -}}
{{- $image := .platform.image -}}
{{- $tag := $image.tag | default .root.Chart.AppVersion -}}
{{- if $image.digest -}}
{{ printf "%s@%s" $image.repository $image.digest }}
{{- else -}}
{{ printf "%s:%s" $image.repository $tag }}
{{- end -}}
{{- end -}}

{{- define "tadrib.serviceAccount" -}}
{{- $account := .platform.serviceAccount -}}
{{- $account.name | default (ternary .root.Release.Name "default" $account.create) -}}
{{- end -}}
