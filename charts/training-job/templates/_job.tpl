{{/* SPDX-License-Identifier: Apache-2.0 */}}
{{/* Reads one entry of `jobs`: its spec, its platform, and the name of its RayJob. All other templates of this chart use
     the dict that "job.read" returns as YAML. */}}

{{/* Takes root and key. Returns text (of the spec), spec (parsed), platform, name, run, method, elastic, group. */}}
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
{{- $group := include "job.group" (dict "key" .key "spec" $spec "platform" $platform) | fromYaml -}}
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

{{/* The parsed spec. Only what this chart itself reads is checked; the pod checks the rest. */}}
{{- define "job.spec" -}}
{{- $where := printf "jobs.%s" .key -}}
{{- if and .entry.spec .entry.specFile }}{{- fail (printf "%s: has both spec and specFile. Keep one." $where) }}{{- end -}}
{{- if not .text }}{{- fail (printf "%s: has neither spec nor specFile. Write the spec under spec, or pass --set-file %s.specFile=FILE." $where $where) }}{{- end -}}
{{- $spec := fromYaml .text -}}
{{- $found := include "tadrib.credentials" (dict "path" "spec" "value" $spec) | splitList "\n" | first -}}
{{- if or $found (include "tadrib.hasSecret" .text) }}{{- fail (printf "%s: %s contains something that looks like a credential, which would be stored in a ConfigMap. Remove it, revoke it, and use platform.secrets." $where ($found | default "the text of the spec")) }}{{- end -}}
{{- if or (not $spec) (hasKey $spec "Error") }}{{- fail (printf "%s: the spec is not a YAML mapping: %s" $where (get ($spec | default dict) "Error" | default "it is empty")) }}{{- end -}}
{{- if and (hasKey $spec "name") (not (kindIs "string" $spec.name)) -}}
{{- fail (printf "%s: the spec's name must be at most 40 lower-case letters, digits and inner hyphens, got %v, which Helm does not read as text. Put it in quotes." $where $spec.name) -}}
{{- end -}}
{{- range list "method" "name" -}}
{{- if not (get $spec .) }}{{- fail (printf "%s: the spec has no %s. Check the file with: tadrib validate FILE" $where .) }}{{- end -}}
{{- end -}}
{{- if not (or $spec.dataset_path $spec.datasets) }}{{- fail (printf "%s: the spec has no dataset_path and no datasets. Check the file with: tadrib validate FILE" $where) }}{{- end -}}
{{- $name := get $spec "name" | toString -}}
{{- if or (gt (len $name) 40) (not (regexMatch "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" $name)) -}}
{{- fail (printf "%s: the spec's name must be at most 40 lower-case letters, digits and inner hyphens, got %q." $where $name) -}}
{{- end -}}
{{- toJson $spec -}}
{{- end -}}

{{/* The pods of the workers that the spec asks for: the only place where resources are read. Defaults are those of the
     spec. `given` says whether the spec itself has the workers of a pod. */}}
{{- define "job.group" -}}
{{- $where := printf "jobs.%s: resources" .key -}}
{{- $resources := get .spec "resources" | default dict -}}
{{- $asked := get $resources "workers_per_node" -}}
{{- $asked = ternary "" ($asked | toString) (kindIs "invalid" $asked) -}}
{{- $given := ne $asked "" -}}
{{- $workers := get $resources "num_workers" | default 1 -}}
{{- $range := ternary $workers (dict "min" $workers "max" $workers) (kindIs "map" $workers) -}}
{{- $gpus := get $resources "gpus_per_worker" | default 0 -}}
{{- range $what, $number := dict "num_workers" $range.min "num_workers.max" $range.max "gpus_per_worker" $gpus "workers_per_node" ($asked | default "1") -}}
{{- if not (regexMatch "^[0-9]+$" ($number | toString)) }}{{- fail (printf "%s.%s must be a whole number, got %q." $where $what ($number | toString)) }}{{- end -}}
{{- end -}}
{{- if or (lt (int $range.min) 1) (gt (int $range.min) (int $range.max)) }}{{- fail (printf "%s.num_workers: needs 1 <= min <= max, got min %d, max %d." $where (int $range.min) (int $range.max)) }}{{- end -}}
{{- $node := int .platform.gpu.perNode -}}
{{- $source := ternary "resources.workers_per_node" "platform.gpu.perNode" $given -}}
{{- $workers := ternary $asked (ternary (min $node $range.max) 1 (gt (int $gpus) 0)) $given | int -}}
{{- include "job.refuseNode" (dict "key" .key "range" $range "workers" $workers "gpus" $gpus "node" $node "source" $source) -}}
{{- $limits := dict "cpu" (include "tadrib.times" (dict "quantity" (get $resources "cpus_per_worker" | default 1) "times" $workers)) -}}
{{- with get $resources "memory_per_worker" }}{{- $_ := set $limits "memory" (include "tadrib.times" (dict "quantity" . "times" $workers)) }}{{- end -}}
{{- $pods := dict "name" "workers" "min" (div (int $range.min) $workers) "max" (div (int $range.max) $workers) -}}
{{- $label := ternary (toString $workers) "" (or $given (gt $workers 1)) -}}
{{- merge $pods (dict "workers" $workers "label" $label "given" $given "gpus" (mul (int $gpus) $workers) "limits" $limits) | toJson -}}
{{- end -}}

{{/* Workers that do not fill their pods, or pods that no node could hold. Takes key, range, workers and gpus, those of
     a node, and the source of workers. */}}
{{- define "job.refuseNode" -}}
{{- $where := printf "jobs.%s" .key -}}
{{- if lt (int .workers) 1 }}{{- fail (printf "%s: resources.workers_per_node must be at least 1, got %d." $where (int .workers)) }}{{- end -}}
{{- if or (mod (int .range.min) .workers) (mod (int .range.max) .workers) -}}
{{- $whole := 1 -}}
{{- range $number := untilStep 1 (int (add1 .workers)) 1 -}}
{{- if not (or (mod (int $.range.min) $number) (mod (int $.range.max) $number)) }}{{- $whole = $number }}{{- end -}}
{{- end -}}
{{- $wanted := ternary (int .range.max | toString) (printf "{min: %d, max: %d}" (int .range.min) (int .range.max)) (eq (int .range.min) (int .range.max)) -}}
{{- fail (printf "%s: %s puts %d workers on a node, which does not divide resources.num_workers (%s); a run takes whole nodes. Set resources.workers_per_node: %d, or another num_workers." $where .source (int .workers) $wanted $whole) -}}
{{- end -}}
{{- if and (gt (int .node) 1) (gt (mul .gpus .workers) (int .node)) -}}
{{- fail (printf "%s: resources.workers_per_node is %d, and nodes have %d GPUs (platform.gpu.perNode). Set it to %d or less." $where (int .workers) (int .node) (int .node)) -}}
{{- end -}}
{{- end -}}

{{/* Refuses a run whose directory would be lost with its pod, or would not be on the mounted volume. */}}
{{- define "job.refuse" -}}
{{- $job := .job -}}
{{- $where := printf "jobs.%s" $job.key -}}
{{- $path := get $job.spec "storage_path" | default "./runs" -}}
{{- $storage := $job.platform.storage -}}
{{- if not (contains "://" $path) -}}
{{- if not $storage.claim -}}
{{- fail (printf "%s: storage_path %q is a directory, but no shared volume is mounted that outlives the pods. Set platform.storage.claim to a ReadWriteMany claim, or storage_path to an object store such as s3://bucket/runs." $where $path) -}}
{{- end -}}
{{- if and (hasPrefix "/" $path) (not (hasPrefix (printf "%s/" $storage.mountPath) (printf "%s/" $path))) -}}
{{- fail (printf "%s: storage_path %q is outside %s, where the volume is mounted. Give a path below it; relative paths start there." $where $path $storage.mountPath) -}}
{{- end -}}
{{- end -}}
{{- if and $job.elastic (not $job.platform.autoscaler.enabled) -}}
{{- $workers := int $job.group.workers -}}
{{- fail (printf "%s: resources.num_workers is {min: %d, max: %d}, but the platform has no autoscaler. Give one number, or set platform.autoscaler.enabled: true." $where (mul $job.group.min $workers) (mul $job.group.max $workers)) -}}
{{- end -}}
{{- $topology := $job.platform.queue.topology -}}
{{- $node := int $job.platform.gpu.perNode -}}
{{- if and (eq $topology.mode "required") (eq $topology.level "kubernetes.io/hostname") (gt $node 1) (gt (mul $job.group.max $job.group.gpus) $node) -}}
{{- fail (printf "%s: platform.queue.topology requires one node (kubernetes.io/hostname) for %d GPUs, and a node has %d (platform.gpu.perNode), so it would wait for ever. Name the level of a rack or block." $where (mul $job.group.max $job.group.gpus) $node) -}}
{{- end -}}
{{- include "tadrib.refusePlatform" (dict "root" .root "platform" $job.platform "elastic" $job.elastic) -}}
{{- end -}}

{{/* The run directory as the user knows it: relative paths start at the mounted volume. */}}
{{- define "job.directory" -}}
{{- $path := get .spec "storage_path" | default "./runs" | trimSuffix "/" -}}
{{- if not (or (contains "://" $path) (hasPrefix "/" $path)) -}}
{{- $path = printf "%s/%s" .platform.storage.mountPath (trimPrefix "./" $path) -}}
{{- end -}}
{{ $path }}/{{ .run }}
{{- end -}}
