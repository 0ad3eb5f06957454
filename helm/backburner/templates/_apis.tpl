{{/*
(dict "root" $ "api" GROUP/VERSION "value" NAME): what a value needs of the cluster. `helm install` and Flux ask the cluster, Argo
CD passes what it has; `helm template` knows Kubernetes' own alone, and takes --api-versions.
*/}}
{{- define "backburner.needs" -}}
{{- if not (or .root.Values.assumeApis (.root.Capabilities.APIVersions.Has .api)) -}}
{{- fail (printf "%s needs %s, which this cluster does not have; install what brings it, leave the value off, or, for helm template, pass --api-versions %s or set assumeApis" .value .api .api) -}}
{{- end -}}
{{- end -}}
