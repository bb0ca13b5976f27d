{{/* SPDX-License-Identifier: Apache-2.0 */}}
{{/* The Pod Security Standard `restricted`, and a read-only root file system. */}}

{{- define "tadrib.podSecurity" -}}
runAsNonRoot: true
{{- with .platform.security.runAsUser }}
runAsUser: {{ int64 . }}
{{- end }}
{{- with .platform.security.runAsGroup }}
runAsGroup: {{ int64 . }}
{{- end }}
{{- with .platform.security.fsGroup }}
fsGroup: {{ int64 . }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "tadrib.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end -}}
