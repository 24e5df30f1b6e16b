# Every target under infra/ has these variables and the outputs of outputs.tf; `ml infra` knows no others.

variable "environment" {
  description = "The environment that this host holds, such as staging or production."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,19}$", var.environment))
    error_message = "environment must be a lower-case word of at most 20 letters, digits and hyphens."
  }
}

variable "home" {
  description = "GREENLIGHT_HOME: the absolute path of the folder that holds this machine's environments."
  type        = string

  validation {
    condition     = startswith(var.home, "/")
    error_message = "home must be an absolute path."
  }
}

variable "port" {
  description = "The first of four ports on 127.0.0.1: edge, its admin page, slot blue, slot green. 0 means 8080 for staging and 8090 for production."
  type        = number
  default     = 0

  validation {
    condition     = var.port == 0 || (var.port >= 1024 && var.port <= 65532 && floor(var.port) == var.port)
    error_message = "port must be a whole number from 1024 to 65532: it is the first of four."
  }
}
