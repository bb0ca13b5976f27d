{{/* SPDX-License-Identifier: Apache-2.0 */}}
{{/* Combinations that the schema cannot express, and that a cluster would reject late or never. `fail` ends rendering. */}}

{{- define "tadrib.refusePlatform" -}}
{{- $platform := .platform -}}
{{- if le (int $platform.grace.terminationSeconds) (add 10 (int $platform.grace.drainSeconds)) -}}
{{- fail (printf "platform.grace: drainSeconds (%d) must be at least 10 below terminationSeconds (%d), or Kubernetes kills the pod while its checkpoint is being saved. Raise terminationSeconds." (int $platform.grace.drainSeconds) (int $platform.grace.terminationSeconds)) -}}
{{- end -}}
{{- if and $platform.gpu.dra.enabled (semverCompare "<1.34.0-0" .root.Capabilities.KubeVersion.Version) -}}
{{- fail (printf "platform.gpu.dra: claims require Kubernetes 1.34 (resource.k8s.io/v1), but this is %s. Set dra.enabled: false to request %s instead." .root.Capabilities.KubeVersion.Version $platform.gpu.resource) -}}
{{- end -}}
{{- if and $platform.auth.enabled (semverCompare "<2.52.0-0" $platform.rayVersion) -}}
{{- fail (printf "platform.rayVersion: %s, but Ray requires tokens only since 2.52.0, so KubeRay refuses it with auth. Use an image with a newer Ray, or set platform.auth.enabled: false." $platform.rayVersion) -}}
{{- end -}}
{{- include "tadrib.refuseQueue" . -}}
{{- include "tadrib.refuseEnvironment" . -}}
{{- end -}}

{{- define "tadrib.refuseQueue" -}}
{{- $platform := .platform -}}
{{- $queue := $platform.queue -}}
{{- if and (eq $queue.kind "none") (or $queue.name $queue.priority $queue.topology.mode) -}}
{{- fail "platform.queue: name, priority or topology is set, but kind is none, so it would have no effect. Set kind to kueue, volcano, yunikorn or kai." -}}
{{- end -}}
{{- if and (ne $queue.kind "none") (not $queue.name) -}}
{{- fail (printf "platform.queue: kind is %s, but name is empty. Give the queue's name: for kueue, a LocalQueue of this namespace." $queue.kind) -}}
{{- end -}}
{{- if and (eq $queue.kind "kai") (eq (get $platform "submissionMode" | default "HTTPMode") "K8sJobMode") -}}
{{- fail "platform.submissionMode: K8sJobMode, but KubeRay refuses it with KAI, whose gang would wait for the submitter, which waits for the gang. Set submissionMode: HTTPMode." -}}
{{- end -}}
{{- if and $queue.priority (has $queue.kind (list "yunikorn" "kai")) -}}
{{- fail (printf "platform.queue.priority: %s does not read a priority from the job's labels. Leave it empty, and set platform.priorityClass." $queue.kind) -}}
{{- end -}}
{{- if and $queue.topology.mode (has $queue.kind (list "yunikorn" "kai")) -}}
{{- fail (printf "platform.queue.topology: %s does not read it from a RayJob. Use kueue or volcano, or leave topology.mode empty." $queue.kind) -}}
{{- end -}}
{{- if and $queue.topology.mode (not $queue.topology.level) -}}
{{- fail "platform.queue.topology: mode is set, but level is empty. Give the node label (kueue) or the highest tier (volcano)." -}}
{{- end -}}
{{- if and (eq $queue.kind "kueue") $queue.topology.mode .elastic -}}
{{- fail "platform.queue.topology: kueue does not place elastic jobs by topology without an alpha feature (ElasticJobsViaWorkloadSlicesWithTAS). Give one number of workers, or leave topology.mode empty." -}}
{{- end -}}
{{- if and (eq $queue.kind "volcano") $queue.topology.mode (not (regexMatch "^[0-9]+$" $queue.topology.level)) -}}
{{- fail (printf "platform.queue.topology.level: volcano requires the number of the highest tier, got %q." $queue.topology.level) -}}
{{- end -}}
{{- end -}}

{{/* Many users may read a RayJob, so it must not contain credentials; some variables would break what KubeRay manages. */}}
{{- define "tadrib.refuseEnvironment" -}}
{{- $managed := list "RAY_ADDRESS" "RAY_AUTH_TOKEN" "RAY_AUTH_MODE" "RAY_REDIS_ADDRESS" "REDIS_USERNAME" "REDIS_PASSWORD" "RAY_enable_autoscaler_v2" "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S" "RAY_JOB_STOP_WAIT_TIME_S" "RAY_CLUSTER_NAME" "RAY_CLUSTER_NAMESPACE" -}}
{{- $set := dict -}}
{{- range $key := list "env" "nccl" }}{{- range $name, $value := get $.platform $key }}{{- $_ := set $set $name (printf "%s.%s" $key $name) }}{{- end }}{{- end -}}
{{- range $number, $secret := .platform.secrets }}{{- $_ := set $set $secret.env (printf "secrets[%d]: %s" $number $secret.env) }}{{- end -}}
{{- range $name := $managed -}}
{{- with get $set $name -}}
{{- fail (printf "platform.%s: this variable is set by KubeRay or by this chart. Remove it; see grace, auth and autoscaler." .) -}}
{{- end -}}
{{- end -}}
{{- range $name, $value := merge (dict) .platform.env .platform.nccl -}}
{{- if include "tadrib.credentials" (dict "path" "env" "value" (dict $name $value)) -}}
{{- fail (printf "platform.env.%s looks like a credential, and everybody who can read the RayJob could read it. Put it into a Secret and refer to that in platform.secrets: [{env: %s, secret: …, key: …}]." $name $name) -}}
{{- end -}}
{{- end -}}
{{- with include "tadrib.credentials" (dict "path" "platform" "value" (omit .platform "env" "nccl" "secrets" "auth")) -}}
{{- fail (printf "%s looks like a credential, and everybody who can read the RayJob could read it. Remove and revoke it; the pods' environment comes from platform.secrets, an image's pull secret from platform.image.pullSecrets." (splitList "\n" . | first)) -}}
{{- end -}}
{{- end -}}

{{/* The paths of everything in a value that looks like a credential, one per line, by the patterns of _secrets.tpl; the
     credentials themselves are never printed. Takes path and value. */}}
{{- define "tadrib.credentials" -}}
{{- $path := .path -}}
{{- if kindIs "map" .value -}}
{{- range $name, $inner := .value -}}
{{- $secret := and (include "tadrib.isSecretName" $name) (not (kindIs "bool" $inner)) (not (kindIs "invalid" $inner)) -}}
{{- if include "tadrib.hasSecret" $name }}{{ printf "%s: a key\n" $path -}}
{{- else if $secret }}{{ printf "%s.%s\n" $path $name -}}
{{- else }}{{ include "tadrib.credentials" (dict "path" (printf "%s.%s" $path $name) "value" $inner) -}}
{{- end -}}
{{- end -}}
{{- else if kindIs "slice" .value -}}
{{- range $number, $inner := .value }}{{ include "tadrib.credentials" (dict "path" (printf "%s[%d]" $path $number) "value" $inner) }}{{ end -}}
{{- else if kindIs "string" .value -}}
{{- $found := "" -}}
{{- if hasPrefix "{" (trim .value) }}{{- $found = include "tadrib.credentials" (dict "path" $path "value" (fromJson .value)) }}{{- end -}}
{{- if and (not $found) (include "tadrib.hasSecret" .value) }}{{- $found = printf "%s\n" $path }}{{- end -}}
{{ $found -}}
{{- end -}}
{{- end -}}
