{{- define "haulout.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "haulout.fullname" -}}
{{- $name := include "haulout.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 48 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "haulout.selector" -}}
app.kubernetes.io/name: {{ include "haulout.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: haulout-operator
{{- end -}}

{{- define "haulout.labels" -}}
app.kubernetes.io/name: {{ include "haulout.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "haulout.image" -}}
{{- $repository := include "haulout.fromRegistry" (list . .Values.image.repository) -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- /* An image from the registry that all are pulled from: `include` it with the root and the image in a list. */ -}}
{{- define "haulout.fromRegistry" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- with $root.Values.global.imageRegistry -}}
{{ . }}/{{ regexReplaceAll "^(localhost|[^/]*[.:][^/]*)/" $image "" }}
{{- else -}}
{{ $image }}
{{- end -}}
{{- end -}}

{{- define "haulout.serviceAccount" -}}
{{- default (printf "%s-operator" (include "haulout.fullname" .)) .Values.serviceAccount.name -}}
{{- end -}}

{{- /* The network's spec: what the values say of it, and for the rest what they say for everything. */ -}}
{{- define "haulout.networkSpec" -}}
{{- $spec := deepCopy .Values.network.spec -}}
{{- $common := dict "imagePullPolicy" .Values.image.pullPolicy "imagePullSecrets" .Values.image.pullSecrets -}}
{{- range $key, $value := $common -}}
{{- if not (hasKey $spec $key) -}}{{- $_ := set $spec $key $value -}}{{- end -}}
{{- end -}}
{{- range $part, $values := dict "tracing" .Values.tracing "metrics" (pick .Values.metrics "scrapeAnnotations") -}}
{{- $own := get $spec $part | default dict -}}
{{- range $key, $value := $values -}}
{{- if not (hasKey $own $key) -}}{{- $_ := set $own $key $value -}}{{- end -}}
{{- end -}}
{{- $_ := set $spec $part $own -}}
{{- end -}}
{{- toYaml $spec -}}
{{- end -}}

{{- /* Whether a service is on: `include` it with the root and its name in a list; "true" or nothing. */ -}}
{{- define "haulout.serves" -}}
{{- $root := index . 0 -}}
{{- $own := get $root.Values.network.spec (index . 1) | default dict -}}
{{- if and $root.Values.network.create (dig "enabled" true $own) (gt (int (dig "replicas" 1 $own)) 0) -}}true{{- end -}}
{{- end -}}

{{- /* What the Prometheus of the chart is started with. */ -}}
{{- define "haulout.prometheusConfig" -}}
global: {scrape_interval: 15s, evaluation_interval: 15s}
rule_files: [/etc/prometheus/rules.yaml]
{{- with .Values.monitoring.prometheus.alertmanager }}
alerting: {alertmanagers: [{static_configs: [{targets: [{{ . | quote }}]}]}]}
{{- end }}
scrape_configs:
  - job_name: haulout
    kubernetes_sd_configs:
      - role: pod
        namespaces: {names: [{{ .Release.Namespace }}]}
    relabel_configs:
      - {source_labels: [__meta_kubernetes_pod_container_port_name], regex: metrics, action: keep}
      - {source_labels: [__meta_kubernetes_pod_phase], regex: Succeeded|Failed, action: drop} # has ended: not down
      - {source_labels: [__meta_kubernetes_namespace], target_label: namespace}
      - {source_labels: [__meta_kubernetes_pod_label_haulout_dev_network], target_label: network}
      - {source_labels: [__meta_kubernetes_pod_label_app_kubernetes_io_component], target_label: role}
      - {source_labels: [__meta_kubernetes_pod_name], target_label: process}
{{- end -}}

{{- define "haulout.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "haulout.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- /* What the Pods of operator and epoch controller have alike: secrets of the registry, where they run, and probes. */ -}}
{{- define "haulout.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "haulout.scheduling" -}}
{{- with .Values.operator.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.operator.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.operator.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.operator.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{- define "haulout.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 1
  timeoutSeconds: 5
  failureThreshold: 120
livenessProbe:
  httpGet: {path: /healthz, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 2
  timeoutSeconds: 5
{{- end -}}
