"""What Prometheus and Grafana get: rules, runbooks and dashboards, made from code by `make gen`.

`alert_cases.py` says for each alert when it fires and when it stays silent.
"""
