{{/* Devices by dynamic resource allocation: GROUP. */}}
{{- define "backburner.worker.claimSpec" -}}
{{- $claim := .accelerator.claim -}}
devices:
  requests:
    - name: accelerators
      exactly:
        deviceClassName: {{ $claim.deviceClass }}
        allocationMode: ExactCount
        count: {{ max 1 (include "backburner.worker.accelerators" . | int) }}
        {{- with $claim.selectors }}
        selectors:
          {{- range . }}
          - cel: {expression: {{ . | quote }}}
          {{- end }}
        {{- end }}
  {{- with $claim.matchAttribute }}
  constraints:
    - {requests: [accelerators], matchAttribute: {{ . }}}
  {{- end }}
{{- end -}}

{{/* (dict "root" $ "name" NAME "group" GROUP): its template's name. Templates cannot be changed, so another one is another name. */}}
{{- define "backburner.worker.claimTemplate" -}}
{{- printf "%s-%s" (include "backburner.worker.name" .) (include "backburner.worker.claimSpec" .group | sha256sum | trunc 8) -}}
{{- end -}}
