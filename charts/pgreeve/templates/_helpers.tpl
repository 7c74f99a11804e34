{{- define "pgreeve.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- /* 45 leaves room for the longest suffix, -dashboard or a namespace role, within 63. */ -}}
{{- define "pgreeve.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "pgreeve.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 45 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* ClusterRoles of two releases of one name in two namespaces must not collide. */ -}}
{{- define "pgreeve.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "pgreeve.fullname" .) -}}
{{- end -}}

{{- define "pgreeve.selectorLabels" -}}
app.kubernetes.io/name: {{ include "pgreeve.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "pgreeve.labels" -}}
{{ include "pgreeve.selectorLabels" . }}
app.kubernetes.io/part-of: pgreeve
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "pgreeve.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "pgreeve.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "pgreeve.image" -}}
{{- $name := .Values.image.repository -}}
{{- with .Values.image.registry }}{{ $name = printf "%s/%s" . $name }}{{ end -}}
{{- $name = printf "%s:%s" $name (default .Chart.AppVersion .Values.image.tag) -}}
{{- with .Values.image.digest }}{{ $name = printf "%s@%s" $name . }}{{ end -}}
{{- $name -}}
{{- end -}}

{{- /* The plural names of pgreeve's kinds, as a JSON list: the definitions themselves say them, so that no rule can miss one. */ -}}
{{- define "pgreeve.plurals" -}}
{{- $plurals := list -}}
{{- range $path, $_ := .Files.Glob "files/crds/*.yaml" -}}
{{- $plurals = append $plurals ($.Files.Get $path | fromYaml).spec.names.plural -}}
{{- end -}}
{{- toJson $plurals -}}
{{- end -}}

{{- /* What the operator may do where it watches. Secrets: get by name, never list or watch. Jobs: never changed, only made and removed. */ -}}
{{- define "pgreeve.operatorRules" -}}
{{- $plurals := include "pgreeve.plurals" . | fromJsonArray -}}
- apiGroups: [pgreeve.dev]
  resources:
    {{- toYaml $plurals | nindent 4 }}
  verbs: [get, list, watch]
- apiGroups: [pgreeve.dev]
  resources:
    {{- range $plurals }}
    - {{ . }}/status
    {{- end }}
  verbs: [patch, update]
# A schedule makes Backups, marks them and lets them go.
- apiGroups: [pgreeve.dev]
  resources: [backups]
  verbs: [create, delete, patch]
# Finalizers: neither goes before what it has changed is put back.
- apiGroups: [pgreeve.dev]
  resources: [backupschedules, restores]
  verbs: [patch]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [create, delete, get, list, watch]
# What a Job's Pod reports, or waits for.
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
{{- with .Values.restores.workloads }}
{{- if .enabled }}
# Scaled to nothing for a restore, and back.
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [get, list, patch]
- apiGroups: [batch]
  resources: [cronjobs]
  verbs: [get, list, patch]
{{- range .kinds }}
- apiGroups: [{{ .group | quote }}]
  resources: [{{ .resource }}]
  verbs: [get, list, patch]
- apiGroups: [{{ .group | quote }}]
  resources: [{{ .resource }}/scale]
  verbs: [get, patch]
{{- end }}
# What would scale them up meanwhile.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list]
{{- range $tool, $held := dict "keda" (list "keda.sh" "scaledobjects") "argocd" (list "argoproj.io" "applications") "flux" (list "helm.toolkit.fluxcd.io" "helmreleases") }}
{{- if has $tool $.Values.restores.workloads.hold }}
- apiGroups: [{{ first $held }}]
  resources: [{{ last $held }}]
  verbs: [get, list, patch]
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "pgreeve.subject" -}}
- kind: ServiceAccount
  name: {{ include "pgreeve.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{- /*
"true" if an object of another project's kind is to be rendered.
Takes a dict: root, settings (with enabled and renderMode), kind (group/version/Kind), path (of the settings, for the message).
*/ -}}
{{- define "pgreeve.renders" -}}
{{- if .settings.enabled -}}
{{- $known := .root.Capabilities.APIVersions.Has .kind -}}
{{- if or $known (eq .settings.renderMode "alwaysRender") -}}
true
{{- else if eq .settings.renderMode "failIfMissing" -}}
{{- fail (printf "%s.enabled is true, but the cluster does not know %s; install it, or set %s.renderMode to skipIfMissing" .path .kind .path) -}}
{{- end -}}
{{- end -}}
{{- end -}}
