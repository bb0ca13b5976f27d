{{/* SPDX-License-Identifier: Apache-2.0 */}}
{{/* RayClusterSpec: one head without work of its own, and groups of workers. Also takes `groups`, a list of dicts:
     name, min, max, gpus, limits (cpu and memory), and `specs` for the head. */}}

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
    {{- with include "tadrib.objectStore" . }}
    {{- . | nindent 4 }}
    {{- end }}
  template:
    {{- $limits := dict "cpu" $platform.head.cpu "memory" $platform.head.memory }}
    {{- $head := dict "role" "head" "gpus" 0 "limits" $limits "group" $platform.head "autoscaled" $autoscaled }}
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
      {{- with include "tadrib.objectStore" $ }}
      {{- . | nindent 6 }}
      {{- end }}
    template:
      {{- $limits := include "tadrib.workerLimits" (dict "platform" $platform "group" .) | fromYaml }}
      {{- $worker := dict "role" "worker" "gpus" .gpus "limits" $limits "group" $platform.workers "groupName" .name }}
      {{- $_ := set $worker "podAnnotations" (include "tadrib.workerAnnotations" $ | fromYaml) }}
      {{- /* merge takes an empty value for a missing one, so what only the head has is left out */}}
      {{- include "tadrib.podTemplate" (merge $worker (omit $ "groups" "specs")) | nindent 6 }}
  {{- end }}
{{- end -}}

{{/* CPU, memory, GPUs and whatever else the platform adds, such as RDMA devices; GPUs of DRA are claimed instead. */}}
{{- define "tadrib.workerLimits" -}}
cpu: {{ .group.limits.cpu | quote }}
memory: {{ .group.limits.memory | default .platform.workers.memory | quote }}
{{- if and (gt (int .group.gpus) 0) (not .platform.gpu.dra.enabled) }}
{{ .platform.gpu.resource }}: {{ int .group.gpus | quote }}
{{- end }}
{{- range $name, $amount := .platform.workers.resources }}
{{ $name }}: {{ $amount | toString | quote }}
{{- end }}
{{- end -}}

{{/* Ray's object store must fit into /dev/shm, or it goes to disk; half leaves room for NCCL and data loaders. */}}
{{- define "tadrib.objectStore" -}}
{{- with .platform.shm.size -}}
{{- $units := dict "Mi" 1048576 "Gi" 1073741824 -}}
{{- $unit := regexFind "[MG]i$" . -}}
object-store-memory: {{ div (mul (trimSuffix $unit . | int64) (get $units $unit)) 2 | quote }}
{{- end -}}
{{- end -}}

{{/* The autoscaler alone gets a service-account token: the code of a run, beside it in the pod, has none. */}}
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
