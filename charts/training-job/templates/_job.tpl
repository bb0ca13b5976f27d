{{/* SPDX-License-Identifier: Apache-2.0 */}}
{{/* One entry of `jobs` read: its spec, its platform, and the name of its RayJob. Everything else of this chart starts
     from the dict that "job.read" gives as YAML. */}}

{{/* Takes root and key. Gives text (of the spec), spec (parsed), platform, name, run, method, elastic, group. */}}
{{- define "job.read" -}}
{{- $entry := get .root.Values.jobs .key -}}
{{- $platform := mergeOverwrite (deepCopy .root.Values.platform) (deepCopy ($entry.platform | default dict)) -}}
{{- $text := $entry.specFile | default "" -}}
{{- if $entry.spec }}{{- $text = include "job.text" $entry.spec }}{{- end -}}
{{- $spec := include "job.spec" (dict "key" .key "entry" $entry "text" $text) | fromYaml -}}
{{- $start := dict "restart" ($entry.restart | default "") -}}
{{- if eq $platform.restartOn "upgrade" }}{{- $_ := set $start "revision" (int .root.Release.Revision) }}{{- end -}}
{{- $hash := list .root.Release.Name $text (toJson $platform) (toJson $start) | join "\n" | sha256sum | trunc 6 -}}
{{- $stem := ternary (printf "r%s" $spec.name) $spec.name (regexMatch "^[0-9]" $spec.name) | trunc 40 | trimSuffix "-" -}}
{{- $job := dict "key" .key "text" $text "spec" $spec "platform" $platform "name" (printf "%s-%s" $stem $hash) -}}
{{- $_ := set $job "run" $spec.name -}}
{{- $_ := set $job "method" $spec.method -}}
{{- $group := include "job.group" (dict "key" .key "spec" $spec) | fromYaml -}}
{{- $_ := set $job "group" $group -}}
{{- $_ := set $job "elastic" (ne (int $group.min) (int $group.max)) -}}
{{- toJson $job -}}
{{- end -}}

{{/* A spec given as values, as text. Helm's toYaml leaves some texts unquoted that YAML 1.2 reads as numbers (1e400,
     a long hexadecimal) and loses the next-line character; JSON, which is YAML too, keeps every text. */}}
{{- define "job.text" -}}
{{- $text := toYaml . -}}
{{- $json := toJson . -}}
{{- if or (contains "\u0085" $json) (regexMatch "[0-9.][eE][-+]?[0-9]{3}|0x[0-9a-fA-F]{16}" $text) -}}
{{- $text = replace "\u0085" "\\u0085" $json -}}
{{- end -}}
{{- printf "%s\n" $text -}}
{{- end -}}

{{/* The parsed spec. What a pod would refuse anyway is left to it, save for what this chart itself reads. */}}
{{- define "job.spec" -}}
{{- $where := printf "jobs.%s" .key -}}
{{- if and .entry.spec .entry.specFile }}{{- fail (printf "%s: has both spec and specFile. Keep one." $where) }}{{- end -}}
{{- if not .text }}{{- fail (printf "%s: has neither spec nor specFile. Write the spec under spec, or pass --set-file %s.specFile=FILE." $where $where) }}{{- end -}}
{{- $spec := fromYaml .text -}}
{{- $found := include "tadrib.credentials" (dict "path" "spec" "value" $spec) | splitList "\n" | first -}}
{{- if or $found (include "tadrib.hasSecret" .text) }}{{- fail (printf "%s: %s holds something that looks like a credential, and it would be in a ConfigMap. Take it out, revoke it, and use platform.secrets." $where ($found | default "the text of the spec")) }}{{- end -}}
{{- if or (not $spec) (hasKey $spec "Error") }}{{- fail (printf "%s: the spec is not a YAML mapping: %s" $where (get ($spec | default dict) "Error" | default "it is empty")) }}{{- end -}}
{{- if and (hasKey $spec "name") (not (kindIs "string" $spec.name)) -}}
{{- fail (printf "%s: the spec's name must be at most 40 lower-case letters, digits and inner hyphens, got %v, which is no text to Helm. Put it in quotes." $where $spec.name) -}}
{{- end -}}
{{- range list "method" "name" "dataset_path" -}}
{{- if not (get $spec .) }}{{- fail (printf "%s: the spec has no %s. Check the file with: tadrib validate FILE" $where .) }}{{- end -}}
{{- end -}}
{{- $name := get $spec "name" | toString -}}
{{- if or (gt (len $name) 40) (not (regexMatch "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" $name)) -}}
{{- fail (printf "%s: the spec's name must be at most 40 lower-case letters, digits and inner hyphens, got %q." $where $name) -}}
{{- end -}}
{{- toJson $spec -}}
{{- end -}}

{{/* The workers that the spec asks for: the only place where resources are read. Defaults are those of the spec. */}}
{{- define "job.group" -}}
{{- $where := printf "jobs.%s: resources" .key -}}
{{- $resources := get .spec "resources" | default dict -}}
{{- $workers := get $resources "num_workers" | default 1 -}}
{{- $range := ternary $workers (dict "min" $workers "max" $workers) (kindIs "map" $workers) -}}
{{- $gpus := get $resources "gpus_per_worker" | default 0 -}}
{{- range $what, $number := dict "num_workers" $range.min "num_workers.max" $range.max "gpus_per_worker" $gpus -}}
{{- if not (regexMatch "^[0-9]+$" ($number | toString)) }}{{- fail (printf "%s.%s must be a whole number, got %q." $where $what ($number | toString)) }}{{- end -}}
{{- end -}}
{{- if or (lt (int $range.min) 1) (gt (int $range.min) (int $range.max)) }}{{- fail (printf "%s.num_workers: needs 1 <= min <= max, got min %d, max %d." $where (int $range.min) (int $range.max)) }}{{- end -}}
{{- $limits := dict "cpu" (get $resources "cpus_per_worker" | default 1 | toString) -}}
{{- with get $resources "memory_per_worker" }}{{- $_ := set $limits "memory" . }}{{- end -}}
{{- dict "name" "workers" "min" (int $range.min) "max" (int $range.max) "gpus" (int $gpus) "limits" $limits | toJson -}}
{{- end -}}

{{/* Where the run directory would be lost with its pod, or two jobs would write one. */}}
{{- define "job.refuse" -}}
{{- $job := .job -}}
{{- $where := printf "jobs.%s" $job.key -}}
{{- $path := get $job.spec "storage_path" | default "./runs" -}}
{{- $storage := $job.platform.storage -}}
{{- if not (contains "://" $path) -}}
{{- if not $storage.claim -}}
{{- fail (printf "%s: storage_path %q is a directory, and no volume is mounted that workers share and that outlives them. Set platform.storage.claim to a ReadWriteMany claim, or storage_path to an object store such as s3://bucket/runs." $where $path) -}}
{{- end -}}
{{- if and (hasPrefix "/" $path) (not (hasPrefix (printf "%s/" $storage.mountPath) (printf "%s/" $path))) -}}
{{- fail (printf "%s: storage_path %q is outside %s, where the volume is mounted. Write a path below it; a relative one starts there." $where $path $storage.mountPath) -}}
{{- end -}}
{{- end -}}
{{- if and $job.elastic (not $job.platform.autoscaler.enabled) -}}
{{- fail (printf "%s: resources.num_workers is {min: %d, max: %d}, and the platform allows no autoscaler. Write one number, or set platform.autoscaler.enabled: true." $where (int $job.group.min) (int $job.group.max)) -}}
{{- end -}}
{{- include "tadrib.refusePlatform" (dict "root" .root "platform" $job.platform "elastic" $job.elastic) -}}
{{- end -}}

{{/* The run directory as a person would type it: relative paths start at the mounted volume. */}}
{{- define "job.directory" -}}
{{- $path := get .spec "storage_path" | default "./runs" | trimSuffix "/" -}}
{{- if not (or (contains "://" $path) (hasPrefix "/" $path)) -}}
{{- $path = printf "%s/%s" .platform.storage.mountPath (trimPrefix "./" $path) -}}
{{- end -}}
{{ $path }}/{{ .run }}
{{- end -}}
