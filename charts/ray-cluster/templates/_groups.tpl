{{/* SPDX-License-Identifier: Apache-2.0 */}}

{{/* The worker groups in the form that the library expects, as JSON: {groups: […], elastic: …}. A key that is missing in
     a group has the default of tools/chart_values.py. */}}
{{- define "cluster.groups" -}}
{{- $groups := list -}}
{{- $elastic := false -}}
{{- /* a default in values.yaml would be merged with the groups of a user, not replaced by them */ -}}
{{- $all := .Values.workerGroups | default (dict "cpu" (dict "min" 1 "max" 4)) -}}
{{- range $name := keys $all | sortAlpha -}}
{{- $given := get $all $name | default dict -}}
{{- $min := ternary (get $given "min") 1 (hasKey $given "min") | int -}}
{{- $max := ternary (get $given "max") (max 1 $min) (hasKey $given "max") | int -}}
{{- if gt $min $max }}{{- fail (printf "workerGroups.%s: min (%d) must be <= max (%d)." $name $min $max) }}{{- end -}}
{{- if ne $min $max }}{{- $elastic = true }}{{- end -}}
{{- $gpus := int ($given.gpus | default 0) -}}
{{- $limits := dict "cpu" ($given.cpu | default "2") "memory" ($given.memory | default "8Gi") -}}
{{- $groups = append $groups (dict "name" $name "min" $min "max" $max "workers" (max 1 $gpus) "gpus" $gpus "limits" $limits) -}}
{{- end -}}
{{- if and $elastic (not .Values.platform.autoscaler.enabled) }}{{- fail "workerGroups: a group has max above min, but platform.autoscaler.enabled is false. Set them equal, or enable the autoscaler." }}{{- end -}}
{{- dict "groups" $groups "elastic" $elastic | toJson -}}
{{- end -}}

{{/* KubeRay allows a RayCluster 53 characters that start with a letter; a release name may start with a digit. */}}
{{- define "cluster.name" -}}
{{- $name := .Release.Name -}}
{{- ternary (printf "r%s" $name) $name (regexMatch "^[0-9]" $name) | trunc 53 | trimSuffix "-" -}}
{{- end -}}
