# What the rollout knows of a host; written to GREENLIGHT_HOME/ENVIRONMENT/host.json.

output "host" {
  description = "Folders, ports and URLs of this host."
  value       = local.host
}

output "edge_url" {
  description = "Where callers ask."
  value       = local.host.edge_url
}

output "admin_url" {
  description = "The edge's own statistics; for this machine only."
  value       = local.host.admin_url
}

output "models" {
  description = "The models that the edge serves, the first also at its top, and the ports of their slots on 127.0.0.1."
  value       = local.host.models
}

output "socket" {
  description = "The supervisor's control socket."
  value       = local.host.socket
}
