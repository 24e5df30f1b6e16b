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
  description = "The first port on 127.0.0.1: edge, its admin page, then two slots for each model. 0 means 8080 for staging and 8090 for production."
  type        = number
  default     = 0

  validation {
    condition     = var.port == 0 || (var.port >= 1024 && var.port <= 65500 && floor(var.port) == var.port)
    error_message = "port must be a whole number from 1024 to 65500: it is the first of several."
  }
}

variable "models" {
  description = "The names of the models that share the edge; `ml infra` gives those that it has served, and the repository's own."
  type        = list(string)

  validation {
    condition     = length(var.models) >= 1 && length(var.models) <= 16 && length(distinct(var.models)) == length(var.models) && alltrue([for name in var.models : can(regex("^[a-z][a-z0-9_-]{0,39}$", name))])
    error_message = "models must be 1 to 16 different lower-case words: columns.py: CONTRACT.name is one."
  }
}
