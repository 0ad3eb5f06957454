{{/* (dict "root" $ "into" INTO): what the gateway alone reads. */}}
{{- define "backburner.gateway.settings" -}}
{{- $own := .root.Values.gateway -}}
{{- $env := .into.env -}}
{{- $_ := set $env "BACKBURNER_GATEWAY_LISTEN_PORT" "8000" -}}
{{- $_ := set $env "BACKBURNER_DRAIN_SECONDS" (int $own.drainSeconds | toString) -}}
{{- $_ := set $env "BACKBURNER_GATEWAY_MAX_UPLOADS" (int $own.maxUploads | toString) -}}
{{- $_ := set $env "BACKBURNER_GATEWAY_MAX_FILE_BYTES" (int64 $own.maxFileBytes | toString) -}}
{{- $gateways := ternary $own.replicas $own.autoscaling.maxReplicas (eq $own.autoscaling.kind "none") -}}
{{- $_ := set $env "BACKBURNER_GATEWAY_REPLICAS" (max 1 (int (default $gateways $own.quotas.sharedBy)) | toString) -}}
{{- if $own.rootPath -}}
{{- $_ := set $env "BACKBURNER_GATEWAY_ROOT_PATH" $own.rootPath -}}
{{- end -}}
{{- if $own.oidc.issuer -}}
{{- if not $own.oidc.audience -}}
{{- fail "gateway.oidc.audience: an issuer needs the audiences that its tokens may be meant for; list them" -}}
{{- end -}}
{{- $_ := set $env "BACKBURNER_OIDC_ISSUER" $own.oidc.issuer -}}
{{- $_ := set $env "BACKBURNER_OIDC_AUDIENCE" (join "," $own.oidc.audience) -}}
{{- $_ := set $env "BACKBURNER_OIDC_TENANT_CLAIM" $own.oidc.tenantClaim -}}
{{- if $own.oidc.allowHttp -}}
{{- $_ := set $env "BACKBURNER_OIDC_ALLOW_HTTP" "true" -}}
{{- end -}}
{{- include "backburner.authority" (dict "from" $own.oidc.caFrom "name" "oidc-ca" "variable" "BACKBURNER_OIDC_CA_FILE" "into" .into) -}}
{{- end -}}
{{- end -}}

{{/* (dict "root" $ "into" INTO): the file of quotas, which gateways and dispatchers read again when it changes. */}}
{{- define "backburner.quotas" -}}
{{- $quotas := .root.Values.gateway.quotas -}}
{{- if and $quotas.toml $quotas.existingConfigMap -}}
{{- fail "gateway.quotas: toml and existingConfigMap are both set; keep one" -}}
{{- end -}}
{{- if or $quotas.toml $quotas.existingConfigMap -}}
{{- $name := default (printf "%s-quotas" (include "backburner.fullname" .root)) $quotas.existingConfigMap -}}
{{- include "backburner.folder" (dict "volume" (dict "name" "quotas" "configMap" (dict "name" $name)) "path" "/etc/backburner/quotas" "into" .into) -}}
{{- $_ := set .into.env "BACKBURNER_QUOTAS_FILE" "/etc/backburner/quotas/quotas.toml" -}}
{{- end -}}
{{- end -}}
