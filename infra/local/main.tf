# A host on this machine: the tools, and the edge and the slots' supervisor that run from them. Only the
# built-in provider is used, so nothing is downloaded. What moves during a rollout is not Terraform's.

terraform {
  required_version = ">= 1.5"

  backend "local" {} # `ml infra` gives the path: GREENLIGHT_HOME/ENVIRONMENT/terraform/terraform.tfstate
}

locals {
  default_ports = { staging = 8080, production = 8090 }
  port          = var.port != 0 ? var.port : lookup(local.default_ports, var.environment, 8100)
  folder        = "${var.home}/${var.environment}"
  lock          = "${path.module}/../../requirements/host.txt"

  edge = {
    environment = var.environment
    home        = var.home
    folder      = local.folder
    tools       = "${var.home}/tools/${substr(filesha256(local.lock), 0, 12)}"
    edge_url    = "http://127.0.0.1:${local.port}"
    admin_url   = "http://127.0.0.1:${local.port + 1}"
  }

  host = merge(local.edge, {
    socket = "${local.folder}/supervisor/socket" # not in /tmp, where what is old gets removed
    models = [for i, name in var.models : { name = name, blue = local.port + 2 + 2 * i, green = local.port + 3 + 2 * i }]
  })
}

# The tools outlive the job that installs them, and both environments share them.
resource "terraform_data" "tools" {
  triggers_replace = local.edge.tools

  provisioner "local-exec" {
    command     = "python -m pipelines.host.services install"
    quiet       = true
    environment = { GREENLIGHT_HOST = jsonencode(local.host), GREENLIGHT_LOCK = abspath(local.lock) }
  }
}

# The supervisor and, under it, the edge; the rollout adds the slots. A new model does not stop the others.
resource "terraform_data" "services" {
  triggers_replace = local.edge
  input            = local.host
  depends_on       = [terraform_data.tools]

  provisioner "local-exec" {
    when        = destroy
    command     = "python -m pipelines.host.services stop"
    quiet       = true
    environment = { GREENLIGHT_HOST = jsonencode(self.output) }
  }
}

# Starts what does not run, and tells an edge that runs of a new model.
resource "terraform_data" "running" {
  triggers_replace = local.host
  input            = local.host
  depends_on       = [terraform_data.services]

  provisioner "local-exec" {
    command     = "python -m pipelines.host.services start"
    quiet       = true
    environment = { GREENLIGHT_HOST = jsonencode(self.input) }
  }
}
