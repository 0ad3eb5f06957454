{{/* (dict "root" $ "into" INTO): what the gateway alone reads. */}}
{{- define "backburner.gateway.settings" -}}
{{- $own := .root.Values.gateway -}}
{{- $env := .into.env -}}
{{- $_ := set $env "BACKBURNER_GATEWAY_LISTEN_PORT" "8000" -}}
{{- $_ := set $env "BACKBURNER_HTTP_PORT" "8080" -}}
{{- $_ := set $env "BACKBURNER_DRAIN_SECONDS" (int $own.drainSeconds | toString) -}}
{{- $_ := set $env "BACKBURNER_GATEWAY_MAX_UPLOADS" (int $own.maxUploads | toString) -}}
{{- $_ := set $env "BACKBURNER_GATEWAY_MAX_FILE_BYTES" (int64 $own.maxFileBytes | toString) -}}
{{- $gateways := ternary $own.replicas $own.autoscaling.maxReplicas (eq $own.autoscaling.kind "none") -}}
{{- $_ := set $env "BACKBURNER_GATEWAY_REPLICAS" (max 1 (int (default $gateways $own.quotas.sharedBy)) | toString) -}}
{{- if $own.rootPath -}}
{{- $_ := set $env "BACKBURNER_GATEWAY_ROOT_PATH" $own.rootPath -}}
{{- end -}}
{{- /* Longer than the load balancer keeps an idle connection, or some calls meet one that is just being closed. */ -}}
{{- $idle := dict "alb" "930" "gke" "620" -}}
{{- if and $own.ingress.enabled (hasKey $idle $own.ingress.controller) -}}
{{- $_ := set $env "BACKBURNER_GATEWAY_KEEP_ALIVE_SECONDS" (get $idle $own.ingress.controller) -}}
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

{{/* What the usual controllers must be told, so that an upload of the largest file comes through and a long call is not cut off. */}}
{{- define "backburner.gateway.ingressAnnotations" -}}
{{- $own := .Values.gateway -}}
{{- $megabytes := add1 (div (add (int64 $own.maxFileBytes) 1048575) 1048576) -}}
{{- $seconds := "900" -}}
{{- if eq $own.ingress.controller "nginx" }}
nginx.ingress.kubernetes.io/proxy-body-size: {{ printf "%dm" $megabytes }}
nginx.ingress.kubernetes.io/proxy-request-buffering: "off"
nginx.ingress.kubernetes.io/proxy-buffering: "off"
nginx.ingress.kubernetes.io/proxy-http-version: "1.1"
nginx.ingress.kubernetes.io/proxy-read-timeout: {{ $seconds | quote }}
nginx.ingress.kubernetes.io/proxy-send-timeout: {{ $seconds | quote }}
{{- else if eq $own.ingress.controller "traefik" }}
traefik.ingress.kubernetes.io/router.entrypoints: {{ ternary "websecure" "web" (not (empty $own.ingress.tlsSecret)) }}
traefik.ingress.kubernetes.io/service.passhostheader: "true"
{{- else if eq $own.ingress.controller "alb" }}
alb.ingress.kubernetes.io/target-type: ip
alb.ingress.kubernetes.io/backend-protocol: HTTP
alb.ingress.kubernetes.io/healthcheck-port: "8080"
alb.ingress.kubernetes.io/healthcheck-path: /readyz
alb.ingress.kubernetes.io/load-balancer-attributes: idle_timeout.timeout_seconds={{ $seconds }}
alb.ingress.kubernetes.io/target-group-attributes: deregistration_delay.timeout_seconds={{ include "backburner.drainSeconds" (dict "root" . "own" $own) }}
{{- else if eq $own.ingress.controller "gke" }}
kubernetes.io/ingress.allow-http: "false"
{{- end }}
{{- end -}}

{{/* The Service's annotations, with those that tie it to GKE's BackendConfig. */}}
{{- define "backburner.gateway.serviceAnnotations" -}}
{{- $annotations := dict -}}
{{- $ingress := .Values.gateway.ingress -}}
{{- if and $ingress.enabled (eq $ingress.controller "gke") -}}
{{- $_ := set $annotations "cloud.google.com/neg" (dict "ingress" true | toJson) -}}
{{- $_ := set $annotations "cloud.google.com/backend-config" (dict "default" (printf "%s-gateway" (include "backburner.fullname" .)) | toJson) -}}
{{- end -}}
{{- toYaml (mustMergeOverwrite $annotations (deepCopy .Values.gateway.service.annotations)) -}}
{{- end -}}

{{/* Something, if Istio guards the gateways' pods, or a waypoint before them, and not the release's own Gateway. */}}
{{- define "backburner.gateway.istioGuardsPods" -}}
{{- $own := .Values.gateway -}}
{{- if and (eq $own.edge.kind "istio") (not (and $own.httpRoute.enabled $own.httpRoute.tls.enabled)) }}yes{{ end -}}
{{- end -}}

{{/* What Istio guards: the release's own Gateway, or pods. */}}
{{- define "backburner.gateway.istioTarget" -}}
{{- $own := .Values.gateway -}}
{{- if not (include "backburner.gateway.istioGuardsPods" .) -}}
targetRefs:
  - {group: gateway.networking.k8s.io, kind: Gateway, name: {{ include "backburner.fullname" . }}-gateway}
{{- else -}}
selector:
  matchLabels:
    {{- if $own.edge.selector }}
    {{- toYaml $own.edge.selector | nindent 4 }}
    {{- else }}
    {{- include "backburner.selector" (dict "root" . "component" "gateway") | nindent 4 }}
    {{- end }}
{{- end -}}
{{- end -}}
