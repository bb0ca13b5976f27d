{{/* SPDX-License-Identifier: Apache-2.0 */}}
{{/* RayClusterSpec: one head without work of its own, and groups of worker pods. Also takes `groups`, a list of dicts:
     name, min and max (pods), and of each pod: workers, gpus, limits (cpu and memory), label (workers as status and
     doctor read them; empty where nobody chose a number); and `specs` for the head. */}}

{{- define "tadrib.rayClusterSpec" -}}
{{- $platform := .platform -}}
{{- $autoscaled := false -}}
{{- range .groups }}{{- if ne (int .min) (int .max) }}{{- $autoscaled = true }}{{- end }}{{- end -}}
rayVersion: {{ $platform.rayVersion | quote }}
{{- if $platform.auth.enabled }}
authOptions:
  mode: token
  {{- with $platform.auth.secret }}
  secretName: {{ . }}
  {{- end }}
{{- end }}
{{- if $autoscaled }}
enableInTreeAutoscaling: true
autoscalerOptions:
  {{- include "tadrib.autoscaler" . | nindent 2 }}
{{- end }}
headGroupSpec:
  rayStartParams:
    num-cpus: "0"
    dashboard-host: 0.0.0.0
    {{- with include "tadrib.objectStore" (dict "platform" $platform "workers" 1) }}
    {{- . | nindent 4 }}
    {{- end }}
  template:
    {{- $limits := dict "cpu" $platform.head.cpu "memory" $platform.head.memory }}
    {{- $head := dict "role" "head" "workers" 1 "gpus" 0 "limits" $limits "group" $platform.head "autoscaled" $autoscaled }}
    {{- include "tadrib.podTemplate" (merge $head (omit . "groups")) | nindent 4 }}
workerGroupSpecs:
  {{- range .groups }}
  - groupName: {{ .name }}
    replicas: {{ int .min }}
    minReplicas: {{ int .min }}
    maxReplicas: {{ int .max }}
    {{- if and $autoscaled $platform.autoscaler.idleTimeoutSeconds }}
    idleTimeoutSeconds: {{ int $platform.autoscaler.idleTimeoutSeconds }}
    {{- end }}
    rayStartParams:
      num-gpus: {{ int .gpus | quote }}
      {{- with include "tadrib.objectStore" (dict "platform" $platform "workers" .workers) }}
      {{- . | nindent 6 }}
      {{- end }}
    template:
      {{- $limits := include "tadrib.workerLimits" (dict "platform" $platform "group" .) | fromYaml }}
      {{- $worker := dict "role" "worker" "workers" .workers "workersLabel" (get . "label") "gpus" .gpus "limits" $limits "group" $platform.workers "groupName" .name }}
      {{- $_ := set $worker "podAnnotations" (include "tadrib.workerAnnotations" $ | fromYaml) }}
      {{- /* merge treats an empty value as missing, so keys that only the head has are omitted */}}
      {{- include "tadrib.podTemplate" (merge $worker (omit $ "groups" "specs")) | nindent 6 }}
  {{- end }}
{{- end -}}

{{/* Of a pod: CPU, memory, GPUs and whatever else the platform adds for each worker, such as RDMA devices; GPUs of DRA
     are claimed instead. */}}
{{- define "tadrib.workerLimits" -}}
cpu: {{ .group.limits.cpu | quote }}
memory: {{ .group.limits.memory | default (include "tadrib.times" (dict "quantity" .platform.workers.memory "times" .group.workers)) | quote }}
{{- if and (gt (int .group.gpus) 0) (not .platform.gpu.dra.enabled) }}
{{ .platform.gpu.resource }}: {{ int .group.gpus | quote }}
{{- end }}
{{- range $name, $amount := .platform.workers.resources }}
{{ $name }}: {{ include "tadrib.times" (dict "quantity" $amount "times" $.group.workers) | quote }}
{{- end }}
{{- end -}}

{{/* A quantity of Kubernetes as often as the pod has workers. Takes quantity and times. */}}
{{- define "tadrib.times" -}}
{{- $text := .quantity | toString -}}
{{- if eq (int .times) 1 -}}
{{ $text }}
{{- else -}}
{{- $unit := regexFind "[a-zA-Z]*$" $text -}}
{{- /* mulf computes in decimals, and prints a whole number as one */ -}}
{{ mulf (trimSuffix $unit $text) (int .times) }}{{ $unit }}
{{- end -}}
{{- end -}}

{{/* Ray's object store must fit into /dev/shm, or it goes to disk; half leaves room for NCCL and data loaders. Takes
     platform and workers. */}}
{{- define "tadrib.objectStore" -}}
{{- $workers := .workers -}}
{{- with .platform.shm.size -}}
{{- $units := dict "Mi" 1048576 "Gi" 1073741824 -}}
{{- $unit := regexFind "[MG]i$" . -}}
object-store-memory: {{ div (mul (trimSuffix $unit . | int64) (get $units $unit) (int64 $workers)) 2 | quote }}
{{- end -}}
{{- end -}}

{{/* Only the autoscaler's container gets a service-account token; the code of a run, in the same pod, has none. */}}
{{- define "tadrib.autoscaler" -}}
version: v2
idleTimeoutSeconds: {{ int .platform.autoscaler.idleTimeoutSeconds }}
imagePullPolicy: {{ .platform.image.pullPolicy }}
securityContext:
  {{- include "tadrib.containerSecurity" . | nindent 2 }}
env:
  - {name: HOME, value: /tmp}
{{- $limits := dict "cpu" .platform.autoscaler.cpu "memory" .platform.autoscaler.memory }}
resources:
  requests:
    {{- toYaml $limits | nindent 4 }}
  limits:
    {{- toYaml $limits | nindent 4 }}
volumeMounts:
  - name: scratch
    mountPath: /tmp
  - name: kubernetes-api
    mountPath: /var/run/secrets/kubernetes.io/serviceaccount
    readOnly: true
{{- end -}}
