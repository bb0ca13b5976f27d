{{/* SPDX-License-Identifier: Apache-2.0 */}}
{{/* What a credential looks like, from training/redaction.py; a text that is none gives nothing.
     Written by `python -m tools.chart_schema`. */}}

{{- define "tadrib.isSecretName" -}}
{{- if and (regexMatch `(?i)^(?:(?:[\w.\-]*[_\-.])?(?:pwd|pat|sig|sas|auth|creds?)|[\w.\-]*(?:token|secret|passwd|password|passphrase|signature|authorization|bearer|credentials?|(?:api|secret|access|account|storage|private|encryption|signing)[_\-]?key(?:[_\-]?id)?|connection[_\-]?string))$` .) (not (regexMatch `(?i)(?:^|[_\-.])(?:pad|eos|bos|unk|sep|cls|mask|stop|start|begin|end|image|special|added|per|next|first|last|prompt|response|system|user|assistant|instruction)[_\-]?token$` .)) }}yes{{ end -}}
{{- end -}}

{{- define "tadrib.hasSecret" -}}
{{- if regexMatch `\bhf_[A-Za-z0-9]{16,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[\w\-]{30,}|\bya29\.[\w\-]{20,}|\b(?:ghp|gho|ghs|ghu|ghr)_[A-Za-z0-9]{30,}|\bgithub_pat_\w{20,}|\bglpat-[\w\-]{16,}|\bsk-[A-Za-z0-9_\-]{20,}|\beyJ[\w\-]{10,}\.eyJ[\w\-]{10,}\.[\w\-]*|(?i:\bbearer)\s+[\w\-.~+/]{16,}=*|-----BEGIN [A-Z ]*PRIVATE KEY-----|[\w+.\-]{0,40}://[^/\s:@?#\[\"']*:(?:\d+|\d*[^\d\s@/?#\"'][^\s\"']{0,500})@|\b(?:s3a?|gs|gcs)://[^/\s@\"']{0,200}:[^\s\"'@]{1,500}@|\b(?:https?|s3a?|gs|gcs)://[^/\s?#\"']{1,500}@|(?i:(?:^|[?&;#,\s\"'])(?:(?:[\w.\-]*[_\-.])?(?:pwd|pat|sig|sas|auth|creds?)|[\w.\-]*(?:token|secret|passwd|password|passphrase|signature|authorization|bearer|credentials?|(?:api|secret|access|account|storage|private|encryption|signing)[_\-]?key(?:[_\-]?id)?|connection[_\-]?string))\s*=\s*)[\"']?[^\s&;,\"'$<{.][^\s&;,\"']*` . }}yes{{ end -}}
{{- end -}}
