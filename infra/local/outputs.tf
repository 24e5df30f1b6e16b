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

output "slots" {
  description = "The port of each slot on 127.0.0.1."
  value       = local.host.slots
}

output "socket" {
  description = "The supervisor's control socket."
  value       = local.host.socket
}
