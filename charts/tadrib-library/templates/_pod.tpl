{{/* SPDX-License-Identifier: Apache-2.0 */}}
{{/* One pod template for head, workers, submitter and the test of a release. In addition to the common keys it takes:
     role, limits (dict of resources), group (placement: nodeSelector, tolerations, affinity), command (a list, or
     empty where KubeRay writes it), specs (name of a ConfigMap to mount at /etc/tadrib), workers, gpus, workersLabel,
     autoscaled. */}}

{{- define "tadrib.podTemplate" -}}
metadata:
  labels:
    {{- include "tadrib.labels" . | nindent 4 }}
    app.kubernetes.io/component: {{ .role }}
    {{- with .workersLabel }}
    tadrib/workers: {{ . | quote }}
    {{- end }}
    {{- if not .platform.networkPolicy.enabled }}
    tadrib/network: namespace
    {{- end }}
    {{- range $key, $value := .platform.podLabels }}
    {{ $key }}: {{ $value | quote }}
    {{- end }}
  {{- /* without these, node autoscalers may evict pods to consolidate nodes */}}
  {{- $still := dict "cluster-autoscaler.kubernetes.io/safe-to-evict" "false" "karpenter.sh/do-not-disrupt" "true" }}
  {{- $own := ternary $still (dict) (has .role (list "head" "worker")) }}
  {{- with mergeOverwrite $own .platform.podAnnotations (.podAnnotations | default dict) }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- include "tadrib.podSpec" . | nindent 2 }}
{{- end -}}

{{- define "tadrib.podSpec" -}}
{{- $platform := .platform -}}
{{- $ray := has .role (list "head" "worker") -}}
{{- $dra := and $platform.gpu.dra.enabled (gt (int .gpus) 0) -}}
serviceAccountName: {{ include "tadrib.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false
restartPolicy: Never
terminationGracePeriodSeconds: {{ ternary ($platform.grace.terminationSeconds | int64) 30 $ray }}
{{- with $platform.priorityClass }}
priorityClassName: {{ . }}
{{- end }}
{{- if and (gt (int .gpus) 0) $platform.gpu.runtimeClass }}
runtimeClassName: {{ $platform.gpu.runtimeClass }}
{{- end }}
{{- with $platform.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  {{- include "tadrib.podSecurity" . | nindent 2 }}
{{- include "tadrib.placement" . }}
containers:
  - name: {{ ternary (printf "ray-%s" .role) .role $ray }}
    image: {{ include "tadrib.image" . }}
    imagePullPolicy: {{ $platform.image.pullPolicy }}
    {{- with .command }}
    command: {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- if ne .role "submitter" }}
    workingDir: {{ ternary $platform.storage.mountPath "/tmp" (ne $platform.storage.claim "") }}
    {{- end }}
    securityContext:
      {{- include "tadrib.containerSecurity" . | nindent 6 }}
    env:
      {{- include "tadrib.environment" . | trim | nindent 6 }}
    {{- if $ray }}
    ports:
      {{- include "tadrib.ports" . | nindent 6 }}
    {{- end }}
    resources:
      requests:
        {{- toYaml .limits | nindent 8 }}
      limits:
        {{- toYaml .limits | nindent 8 }}
      {{- if $dra }}
      claims:
        - name: gpu
      {{- end }}
    volumeMounts:
      {{- include "tadrib.mounts" . | nindent 6 }}
volumes:
  {{- include "tadrib.volumes" . | nindent 2 }}
{{- if $dra }}
resourceClaims:
  - name: gpu
    resourceClaimTemplateName: {{ include "tadrib.claimName" . }}
{{- end }}
{{- end -}}

{{/* Where the pod may run: the placement of its group, and that of GPUs if it has any. */}}
{{- define "tadrib.placement" -}}
{{- $gpu := ternary .platform.gpu (dict) (gt (int .gpus) 0) -}}
{{- with mergeOverwrite (dict) ($gpu.nodeSelector | default dict) (.group.nodeSelector | default dict) }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with concat ($gpu.tolerations | default list) (.group.tolerations | default list) }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .group.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* KubeRay finds the dashboard port by its name; the last two are scraped if there is an autoscaler. */}}
{{- define "tadrib.ports" -}}
{{- if eq .role "head" -}}
- {name: gcs-server, containerPort: 6379}
- {name: dashboard, containerPort: 8265}
- {name: metrics, containerPort: 8080}
- {name: as-metrics, containerPort: 44217}
- {name: dash-metrics, containerPort: 44227}
{{- else -}}
- {name: metrics, containerPort: 8080}
{{- end -}}
{{- end -}}

{{- define "tadrib.mounts" -}}
- name: scratch
  mountPath: /tmp
{{- if and (has .role (list "head" "worker")) .platform.shm.size }}
- name: shm
  mountPath: /dev/shm
{{- end }}
{{- if and .platform.storage.claim (ne .role "submitter") }}
- name: storage
  mountPath: {{ .platform.storage.mountPath }}
{{- end }}
{{- if .specs }}
- name: specs
  mountPath: /etc/tadrib
  readOnly: true
{{- end }}
{{- end -}}

{{- define "tadrib.volumes" -}}
- name: scratch
  emptyDir:
    sizeLimit: {{ .platform.scratch.size }}
{{- if and (has .role (list "head" "worker")) .platform.shm.size }}
- name: shm
  emptyDir:
    medium: Memory
    sizeLimit: {{ include "tadrib.times" (dict "quantity" .platform.shm.size "times" .workers) }}
{{- end }}
{{- if and .platform.storage.claim (ne .role "submitter") }}
- name: storage
  persistentVolumeClaim:
    claimName: {{ .platform.storage.claim }}
{{- end }}
{{- if .specs }}
- name: specs
  configMap:
    name: {{ .specs }}
{{- end }}
{{- if .autoscaled }}
- name: kubernetes-api
  projected:
    defaultMode: 0444
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3600}
      - configMap:
          name: kube-root-ca.crt
          items: [{key: ca.crt, path: ca.crt}]
      - downwardAPI:
          items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]
{{- end }}
{{- end -}}
