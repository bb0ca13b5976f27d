{{/* SPDX-License-Identifier: Apache-2.0 */}}
{{/* Objects that both charts create beside the RayJob or RayCluster. */}}

{{- define "tadrib.networkPolicy" -}}
{{- $network := .platform.networkPolicy -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "tadrib.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- include "tadrib.selector" . | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    # Ray's processes choose ports of their own, so pods of one cluster may reach each other on all of them.
    - from: [{podSelector: {matchLabels: {tadrib/object: {{ .name | quote }}}}}]
    # The KubeRay operator asks the dashboard for the state of the job; blocked, it fails the job after 300 s.
    - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: {{ $network.operatorNamespace | quote }}}}}]
      ports: [{port: 8265, protocol: TCP}]
    - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: {{ $network.monitoringNamespace | quote }}}}}]
      ports: [{port: 8080, protocol: TCP}, {port: 44217, protocol: TCP}, {port: 44227, protocol: TCP}]
    {{- with $network.ingress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  egress:
    - to: [{podSelector: {matchLabels: {tadrib/object: {{ .name | quote }}}}}]
    # DNS, as a service of the cluster or as the cache on each node
    - to:
        - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
        - ipBlock: {cidr: 169.254.20.10/32}
      ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
    {{- if .elastic }}
    # The autoscaler asks the API server for pods. A policy cannot name it by label, hence its addresses.
    - to: [{ipBlock: {cidr: {{ $network.apiServer.cidr | quote }}}}]
      ports:
        {{- range $network.apiServer.ports }}
        - {port: {{ int . }}, protocol: TCP}
        {{- end }}
    {{- end }}
    {{- with $network.egress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- define "tadrib.serviceAccountObject" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "tadrib.serviceAccount" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "tadrib.labels" . | nindent 4 }}
  {{- with .platform.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end -}}

{{- define "tadrib.claimName" -}}
{{ .name }}-{{ .groupName }}
{{- end -}}

{{/* Also takes groupName and gpus. */}}
{{- define "tadrib.claimTemplate" -}}
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata:
  name: {{ include "tadrib.claimName" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "tadrib.labels" . | nindent 4 }}
spec:
  spec:
    devices:
      requests:
        - name: gpu
          exactly:
            deviceClassName: {{ .platform.gpu.dra.deviceClass }}
            allocationMode: ExactCount
            count: {{ int .gpus }}
{{- end -}}
