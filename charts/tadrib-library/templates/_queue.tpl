{{/* SPDX-License-Identifier: Apache-2.0 */}}
{{/* Queues: the labels and annotations by which each scheduler manages a RayJob or RayCluster. KubeRay copies the labels
     of a RayJob to its RayCluster, and the scheduler's plugin in KubeRay copies them on to pods. */}}

{{- define "tadrib.queueLabels" -}}
{{- $queue := .platform.queue -}}
{{- if eq $queue.kind "kueue" -}}
kueue.x-k8s.io/queue-name: {{ $queue.name | quote }}
{{- with $queue.priority }}
kueue.x-k8s.io/priority-class: {{ . | quote }}
{{- end }}
{{- else if eq $queue.kind "volcano" -}}
volcano.sh/queue-name: {{ $queue.name | quote }}
{{- with $queue.priority }}
ray.io/priority-class-name: {{ . | quote }}
{{- end }}
{{- if $queue.topology.mode }}
volcano.sh/network-topology-mode: {{ ternary "hard" "soft" (eq $queue.topology.mode "required") }}
volcano.sh/network-topology-highest-tier-allowed: {{ $queue.topology.level | quote }}
{{- end }}
{{- else if eq $queue.kind "yunikorn" -}}
yunikorn.apache.org/app-id: {{ .name | quote }}
yunikorn.apache.org/queue: {{ $queue.name | quote }}
ray.io/gang-scheduling-enabled: "true"
{{- else if eq $queue.kind "kai" -}}
kai.scheduler/queue: {{ $queue.name | quote }}
{{- end -}}
{{- end -}}

{{/* Kueue admits a job with an autoscaler only if it is marked as elastic. */}}
{{- define "tadrib.queueAnnotations" -}}
{{- if and (eq .platform.queue.kind "kueue") .elastic -}}
kueue.x-k8s.io/elastic-job: "true"
{{- end -}}
{{- end -}}

{{/* Annotations of worker pods: secondary networks, and topology. Only workers request it, as they exchange gradients. */}}
{{- define "tadrib.workerAnnotations" -}}
{{- $queue := .platform.queue -}}
{{- with .platform.workers.networks }}
k8s.v1.cni.cncf.io/networks: {{ . | quote }}
{{- end }}
{{- if and (eq $queue.kind "kueue") $queue.topology.mode }}
kueue.x-k8s.io/podset-{{ $queue.topology.mode }}-topology: {{ $queue.topology.level | quote }}
{{- end }}
{{- end -}}
