{{/* SPDX-License-Identifier: Apache-2.0 */}}
{{/* Environment of a container, as a list of name and value or secretKeyRef. Also takes `role`: head, worker,
     submitter or check. Home and caches are on the scratch volume, the only writable one. */}}

{{- define "tadrib.environment" -}}
{{- $platform := .platform -}}
{{- $cache := ternary (printf "%s/.cache/huggingface" $platform.storage.mountPath) "/tmp/huggingface" (ne $platform.storage.claim "") -}}
{{- $values := dict
  "HOME" "/tmp"
  "USER" "tadrib"
  "HF_HOME" $cache
  "HF_HUB_DISABLE_TELEMETRY" "1"
  "USE_HUB_KERNELS" "NO"
  "RAY_USAGE_STATS_ENABLED" "0"
-}}
{{- with $platform.storage.objectStore.endpoint }}{{- $_ := set $values "AWS_ENDPOINT_URL_S3" . }}{{- end -}}
{{- with $platform.storage.objectStore.region }}{{- $_ := set $values "AWS_REGION" . }}{{- end -}}
{{- if has .role (list "head" "worker") -}}
  {{- $_ := set $values "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S" ($platform.grace.drainSeconds | int64 | toString) -}}
{{- end -}}
{{- if not $platform.auth.enabled }}{{- $_ := set $values "RAY_AUTH_MODE" "disabled" }}{{- end -}}
{{- if eq .role "head" -}}
  {{- $_ := set $values "NVIDIA_VISIBLE_DEVICES" "void" -}}
  {{- $_ := set $values "RAY_JOB_STOP_SIGNAL" "SIGINT" -}}
  {{- $_ := set $values "RAY_JOB_STOP_WAIT_TIME_S" ($platform.grace.drainSeconds | int64 | toString) -}}
{{- end -}}
{{- if eq .role "worker" }}{{- $values = mergeOverwrite $values (deepCopy $platform.nccl) }}{{- end -}}
{{- $values = mergeOverwrite $values (deepCopy $platform.env) -}}
{{- range $name, $value := $values }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- if ne .role "submitter" }}
{{- range $platform.secrets }}
- name: {{ .env }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ .key }}
{{- end }}
{{- end }}
{{- end -}}
